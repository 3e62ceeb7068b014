"""Clusters of 200,000 documents in a stated amount of memory, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from pathlib import Path
import numpy as np
from data_pipeline.base.sorting import Space, release
from data_pipeline.minhash import MinHashConfig
from data_pipeline.minhash.clusters import near_groups

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10

space = Space(int(sys.argv[1]), Path(sys.argv[2]))
signatures = space.array("signatures", np.uint32, (200_000, 112))
draw = np.random.default_rng(0)
for start in range(0, 200_000, 10_000):
    block = draw.integers(0, 2**32, (10_000, 112), dtype=np.uint32)
    block[::10] = block[1::10]
    block[::10][draw.random((1000, 112)) < 0.1] = 0
    signatures[start : start + 10_000] = block
    release(signatures)
before = peak()
groups = near_groups(signatures, MinHashConfig(), space)
print(sum(len(records) for records in groups.chunks()), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_stays_near_its_bound(tmp_path: Path) -> None:
    memory = 32 << 20
    command = [sys.executable, "-c", CODE, str(memory), str(tmp_path)]
    members, grown = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert 39_900 <= members <= 40_000, "20,000 documents with a near copy each, nearly all of them found"
    assert grown < 2.5 * memory, f"{grown / 2**20:.0f} MiB for a bound of {memory >> 20} MiB; signatures are 85 MiB"
