"""Every family's weights in and out of checkpoints of tensor 2 x pipeline 2, experts over two ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.pretrain.families import FAMILIES


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    script, folder = Path(__file__).with_name("family_layouts.py"), tmp_path_factory.mktemp("layouts")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    done = subprocess.run([*command, str(script), str(folder)], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_transformers_in_and_out_of_a_parallel_checkpoint(
    measured: dict[str, dict[str, float]], family: str
) -> None:
    found = measured[family]
    assert found["loaded"] < 1e-4, "Hugging Face files read straight into the layout"
    assert found["imported"] < 1e-4, "a checkpoint made of them without Megatron"
    assert found["exported"] < 1e-4, "the layout's own checkpoint after a step, as transformers loads it"
    assert found["resumed"] == 0.0, "the same checkpoint, loaded again"
    assert found["moved"] > 1e-2, "the step must change the logits"
