"""A run killed with SIGKILL and started again ends where an uninterrupted one does, to the byte."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from millbase.artifacts import open_artifact, work_directory
from millbase.metrics import read_metrics
from training.posttrain.callbacks import last_whole_checkpoint
from training.posttrain.config import PosttrainConfig
from training.posttrain.dpo import DpoConfig, train_dpo
from training.posttrain.kto import KtoConfig, train_kto
from training.posttrain.prm import PrmConfig, train_prm
from training.posttrain.reward import RewardConfig, train_reward
from training.posttrain.sft import SftConfig, train_sft

from .test_prm import solutions

STAGES: dict[str, tuple[Any, Any]] = {
    "sft": (SftConfig, train_sft),
    "reward": (RewardConfig, train_reward),
    "dpo": (DpoConfig, train_dpo),
    "kto": (KtoConfig, train_kto),
    "prm": (PrmConfig, train_prm),
}

KILLED = """
import json, os, signal, sys
import millbase
from training.posttrain.callbacks import MetricsCallback, WholeCheckpoints
from training.posttrain.{stage} import {config}, train_{stage}

kill_at, when = int(sys.argv[2]), sys.argv[3]
def kill(original):
    def hook(self, args, state, control, **rest):
        if state.global_step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, args, state, control, **rest)
    return hook
if when == "step":
    MetricsCallback.on_step_end = kill(MetricsCallback.on_step_end)
else:  # the files are there, the mark is not
    WholeCheckpoints.on_save = kill(WholeCheckpoints.on_save)
train_{stage}({config}(**json.load(open(sys.argv[1]))), sys.argv[4])
"""


def settings(stage: str, checkpoint: Path, data: Path, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model": str(checkpoint),
        "data": str(data),
        "eval_share": 0.2,
        "eval_every": 3,
        "max_steps": 11,
        "batch_size": 8,
        "micro_batch_size": 4,
        "learning_rate": 1e-3,
        "log_every": 2,
        "save_every": 4,
        "threads": 1,
        # dropout draws from the global generator, whose state must come back too
        "lora": {"rank": 2, "dropout": 0.1} if stage == "sft" else None,
    }
    return {**values, **changes}


def curve(out: Path) -> list[dict[str, Any]]:
    """The metrics without what the clock decides."""
    timed = ("time", "tokens_per_second")
    return [{k: v for k, v in line.items() if k not in timed} for line in read_metrics(out / "metrics.jsonl")]


def run_killed(
    stage: str, values: dict[str, Any], out: Path, kill_at: int, when: str, repository: Path
) -> subprocess.CompletedProcess[str]:
    out.parent.mkdir(exist_ok=True)
    file = out.parent / "config.json"
    file.write_text(json.dumps(values))
    script = KILLED.format(stage=stage, config=STAGES[stage][0].__name__)
    command = [sys.executable, "-c", script, str(file), str(kill_at), when, str(out)]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("stage", "kill_at", "when", "resumes_at"),
    [
        ("sft", 7, "step", 4),
        ("sft", 8, "save", 4),
        ("reward", 9, "step", 8),
        ("dpo", 6, "step", 4),
        pytest.param("kto", 6, "step", 4, marks=pytest.mark.slow),
        pytest.param("prm", 9, "step", 8, marks=pytest.mark.slow),
    ],
)
def test_killed_and_started_again(
    stage: str,
    kill_at: int,
    when: str,
    resumes_at: int,
    checkpoint: Path,
    instructions: Path,
    preferences: Path,
    tmp_path: Path,
    repository: Path,
    write_rows: Any,
) -> None:
    data = instructions if stage == "sft" else preferences
    if stage == "prm":
        data = write_rows(tmp_path / "steps.jsonl", solutions(40))
    values = settings(stage, checkpoint, data)
    config_class, train = STAGES[stage]
    config: PosttrainConfig = config_class(**values)
    whole = train(config, tmp_path / "whole")

    out = tmp_path / "run" / "killed"
    died = run_killed(stage, values, out, kill_at, when, repository)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not out.exists()
    trainer_folder = work_directory(out) / "scratch" / "trainer"
    kept = shutil.copytree(trainer_folder, tmp_path / "kept")
    found = last_whole_checkpoint(kept)
    assert found is not None
    assert found[1] == resumes_at

    train(config, out)
    assert curve(out) == curve(whole)
    assert (out / "hf" / "model.safetensors").read_bytes() == (whole / "hf" / "model.safetensors").read_bytes()
    assert open_artifact(out).digest == open_artifact(whole).digest


def test_another_configuration_starts_over(
    checkpoint: Path, instructions: Path, tmp_path: Path, repository: Path
) -> None:
    values = settings("sft", checkpoint, instructions, max_steps=8)
    out = tmp_path / "run" / "killed"
    run_killed("sft", values, out, 6, "step", repository)
    changed = SftConfig(**{**values, "learning_rate": 2e-3})
    train_sft(changed, out)
    fresh = train_sft(changed, tmp_path / "fresh")
    assert curve(out) == curve(fresh)


def test_a_checkpoint_without_its_mark_is_removed(tmp_path: Path) -> None:
    for step, marked in ((4, True), (8, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if marked:
            (folder / "whole").touch()
    assert last_whole_checkpoint(tmp_path) == (tmp_path / "checkpoint-4", 4)
    assert not (tmp_path / "checkpoint-8").exists()
    assert last_whole_checkpoint(tmp_path / "nowhere") is None
