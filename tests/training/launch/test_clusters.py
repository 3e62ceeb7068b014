"""The same tiny run on this machine, on two machines by hand, and in a real Slurm cluster: the same weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millbase.artifacts import work_directory
from millbase.config import load_config
from millbase.errors import StageError, Submitted
from tests.slurm_cluster import slurm_cluster
from tests.training.pretrain.conftest import make_tokens, tiny_config
from training.pretrain import PretrainConfig, pretrain

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokens(tmp_path_factory.mktemp("cluster") / "tokens")


def fields(tokens: Path, **more: Any) -> dict[str, Any]:
    return tiny_config(tokens, parallel={"data": 2}, **more)


@pytest.fixture(scope="module")
def here(tokens: Path) -> list[float]:
    """Losses of two ranks on this machine."""
    out = tokens.parent / "here"
    pretrain(load_config(PretrainConfig, fields(tokens)), out)
    return losses(out)


def losses(out: Path) -> list[float]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    found = [row["loss"] for row in rows if "loss" in row]
    assert len(found) == 8 or len(rows) > 8, "one line a step"
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with slurm_cluster(nodes=2) as partition:
        yield partition


def on_slurm(tokens: Path, partition: str, **more: Any) -> PretrainConfig:
    settings = {
        "kind": "slurm",
        "partition": partition,
        "gpus_per_node": 0,
        "time": "10:00",
        "poll_seconds": 0.5,
        **more,
    }
    return load_config(PretrainConfig, fields(tokens, launcher=settings))


def test_two_machines_by_hand(tokens: Path, here: list[float], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    values = tmp_path / "config.yaml"
    values.write_text(json.dumps(fields(tokens)))
    command = [sys.executable, "-m", "llmill", "pretrain", str(values), "--out", str(tmp_path / "out"), "--nnodes", "2"]
    command += ["--rdzv", f"127.0.0.1:{port}"]
    machines = [subprocess.Popen([*command, "--node-rank", str(rank)], stderr=subprocess.PIPE) for rank in (1, 0)]
    for machine in machines:
        _, errors = machine.communicate(timeout=500)
        assert machine.returncode == 0, errors.decode()[-2000:]
    assert losses(tmp_path / "out") == pytest.approx(here, abs=1e-6)


def test_two_slurm_nodes(tokens: Path, here: list[float], cluster: str, tmp_path: Path) -> None:
    pretrain(on_slurm(tokens, cluster, nodes=2), tmp_path / "out")
    assert losses(tmp_path / "out") == pytest.approx(here, abs=1e-6)
    (log,) = (tmp_path / ".out.slurm").glob("job-*.log")
    assert "nodes node[0-1]" in log.read_text()


@pytest.mark.timeout(1800)
def test_requeued_run_ends_as_if_never_stopped(tokens: Path, here: list[float], cluster: str, tmp_path: Path) -> None:
    """SIGUSR1, as Slurm sends it before the limit: saved, requeued, finished by the second start."""
    config = on_slurm(tokens, cluster, wait=False)  # long enough to be stopped half-way
    values = config.to_dict() | {"steps": 300, "checkpoint": {"every_steps": 20}, "parallel": {}}
    slow = load_config(PretrainConfig, values | {"evaluation": {"every_steps": 200, "tokens": 200}})
    with pytest.raises(Submitted, match="squeue --jobs"):
        pretrain(slow, tmp_path / "out")
    folder = tmp_path / ".out.slurm"
    job = json.loads((folder / "job.json").read_text())["job"]
    work = work_directory(tmp_path / "out")
    until(lambda: any((work / "scratch/checkpoints").glob("*")), "a first checkpoint")
    with pytest.raises(Submitted, match=f"job {job}"):  # the same command finds its job
        pretrain(slow, tmp_path / "out")
    subprocess.run(["scancel", "--signal=USR1", "--batch", job], check=True)
    until(lambda: (tmp_path / "out" / "manifest.json").is_file(), "the end of the second start")
    text = (folder / f"job-{job}.log").read_text()
    assert text.count(f"job {job}, start ") == 2 and "saved; back into the queue" in text
    assert "stopped by SIGUSR1; saved at step" in text
    plain = load_config(PretrainConfig, slow.to_dict() | {"launcher": {}})
    pretrain(plain, tmp_path / "again")
    assert losses(tmp_path / "out") == losses(tmp_path / "again")


def until(done: Any, what: str, seconds: float = 400.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.3)


def test_what_slurm_and_the_job_refuse(tokens: Path, cluster: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"sbatch refused the job: .*launcher\.partition=nowhere"):
        pretrain(on_slurm(tokens, "nowhere"), tmp_path / "a")
    broken = on_slurm(tokens, cluster)
    broken = broken.model_copy(update={"data": broken.data.model_copy(update={"tokens": str(tmp_path / "none")})})
    with pytest.raises(StageError, match=r"job \d+ ended without .*none.*start the same command again"):
        pretrain(broken, tmp_path / "b")
    assert "SLURM_CONF" in os.environ
