"""Stages on several processes: the same training as on one, and the same figures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from millbase.artifacts import open_artifact, work_directory
from millbase.errors import ConfigError
from millbase.metrics import read_metrics
from training.posttrain.distill import DistillConfig, train_distill
from training.posttrain.dpo import DpoConfig, train_dpo
from training.posttrain.reward import RewardConfig, train_reward
from training.posttrain.sft import SftConfig, train_sft
from training.posttrain.stages.trainer import even_batches

from .conftest import small_run

STAGES: dict[str, tuple[Any, Any]] = {
    "sft": (SftConfig, train_sft),
    "reward": (RewardConfig, train_reward),
    "dpo": (DpoConfig, train_dpo),
}
TIMED = {"time", "tokens_per_second"}
MEANS_OF_BATCHES = {"token_accuracy", "entropy"}
"""In training, means over micro-batches' ratios, of which two processes have fewer."""
EXTREMES = {"min_reward", "max_reward", "val_min_reward", "val_max_reward"}
"""Of each micro-batch, then averaged."""


def settings(checkpoint: Path, data: Path, **changes: Any) -> dict[str, Any]:
    return small_run(checkpoint, data, eval_share=0.2, eval_every=2, micro_batch_size=2, **changes)


@pytest.mark.slow  # two processes start, import torch and train
@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_agree_with_one(
    stage: str, checkpoint: Path, instructions: Path, preferences: Path, tmp_path: Path
) -> None:
    config, train = STAGES[stage]
    values = settings(checkpoint, instructions if stage == "sft" else preferences)
    one = train(config(**values), tmp_path / "one")
    two = train(config(**values, processes=2), tmp_path / "two")
    first, second = (load_file(out / "hf" / "model.safetensors") for out in (one, two))
    start = load_file(checkpoint / "model.safetensors")
    shared = [name for name in first if name in start]
    moved = max(float((first[name] - start[name]).abs().max()) for name in shared)
    apart = max(float((first[name] - second[name]).abs().max()) for name in first)
    assert moved > 1e-3
    assert apart < 1e-3 * moved
    curves = [read_metrics(out / "metrics.jsonl") for out in (one, two)]
    assert len(curves[0]) == len(curves[1])
    assert open_artifact(one).stats["eval_data"]["held_out"] % 2 == 0  # else two processes leave the last one out
    for line, other in zip(*curves, strict=True):
        assert line.keys() == other.keys()
        for name in line.keys() - TIMED - EXTREMES - (MEANS_OF_BATCHES if "loss" in line else set()):
            assert other[name] == pytest.approx(line[name], rel=1e-4, abs=1e-5), (line["step"], name)
    assert open_artifact(one).stats["rows"] == open_artifact(two).stats["rows"]


@pytest.mark.slow
def test_a_killed_run_on_two_processes_ends_in_the_same_bytes(
    checkpoint: Path, instructions: Path, tmp_path: Path
) -> None:
    values = settings(checkpoint, instructions, processes=2, max_steps=40, lora={"rank": 2, "dropout": 0.1})
    whole = train_sft(SftConfig(**values), tmp_path / "whole")
    (tmp_path / "config.json").write_text(json.dumps(values))
    code = (
        "import json, sys; from training.posttrain.sft import SftConfig, train_sft; "
        "train_sft(SftConfig(**json.load(open(sys.argv[1]))), sys.argv[2])"
    )
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "config.json"), str(out)])
    metrics = work_directory(out) / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.exists() and len(metrics.read_text().splitlines()) > 8:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert train_sft(SftConfig(**values), out) == out
    assert (out / "hf" / "model.safetensors").read_bytes() == (whole / "hf" / "model.safetensors").read_bytes()
    kept = [
        [
            {name: value for name, value in line.items() if name not in TIMED}
            for line in read_metrics(path / "metrics.jsonl")
        ]
        for path in (whole, out)
    ]
    assert kept[0] == kept[1]


def test_validation_rows_are_dealt_out_evenly() -> None:
    parts = [even_batches(11, 2, 3, process) for process in range(3)]
    assert [[len(batch) for batch in part] for part in parts] == [[2, 1]] * 3
    assert sorted(row for part in parts for batch in part for row in batch) == list(range(9))
    assert even_batches(2, 4, 3, 1) == [[0, 1]]


def test_rows_that_do_not_divide(checkpoint: Path, instructions: Path) -> None:
    with pytest.raises(ValueError, match="not a multiple of processes = 3"):
        SftConfig(**small_run(checkpoint, instructions, processes=3))
    with pytest.raises(ValueError, match="processes = 2 x micro_batch_size = 8"):
        SftConfig(**small_run(checkpoint, instructions, processes=2, micro_batch_size=8))
    assert SftConfig(**small_run(checkpoint, instructions, processes=2)).micro_rows == 4


def test_a_stage_of_one_process_says_so(checkpoint: Path, instructions: Path, tmp_path: Path) -> None:
    values = small_run(checkpoint, instructions, processes=2, teacher=str(checkpoint))
    with pytest.raises(ConfigError, match=r"processes = 2: this stage \(distill\) trains in one process"):
        train_distill(DistillConfig(**values), tmp_path / "out")
    assert torch.distributed.is_initialized() is False
