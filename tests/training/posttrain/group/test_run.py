"""Whole runs: the artifact, learning, resume after a kill at any step, several processes, failing rewards, mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from millbase.artifacts import open_artifact, work_directory
from millbase.errors import ConfigError, InputError, StageError, UserError
from millbase.metrics import read_metrics
from training.load import load_model, tokenizer_digest
from training.posttrain.group import GroupConfig, train_group
from training.posttrain.group.rollout import GroupRolloutMaker
from training.posttrain.group.update import GroupUpdater

MakeConfig = Callable[..., GroupConfig]
SETTINGS = (
    *("method=dapo", "updates=3", "epochs=2", "minibatches=2", "schedule=linear", "kl.coef=0.02"),
    *("sample_every=1", "save_every=1", "save_every_steps=1"),
)
STEPS = 12
"""Three rollouts of four optimizer steps."""


class Killed(BaseException):
    """Stands in for a kill in the middle of a run."""


def same(first: Path, second: Path) -> None:
    a, b = (load_file(out / "hf" / "model.safetensors") for out in (first, second))
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())
    assert timeless(first) == timeless(second)
    assert (first / "samples.jsonl").read_bytes() == (second / "samples.jsonl").read_bytes()
    assert open_artifact(first).digest == open_artifact(second).digest


def timeless(out: Path) -> list[dict[str, Any]]:
    lines = read_metrics(out / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k != "time" and not k.startswith("seconds")} for line in lines]


def test_artifact(make_config: MakeConfig, policy_folder: Path, tmp_path: Path) -> None:
    out = train_group(make_config("updates=3", "sample_every=2", "sample_count=3"), tmp_path / "grpo")
    manifest = open_artifact(out, kind="checkpoint")
    assert manifest.stats["stage"] == "grpo" and manifest.stats["method"] == "grpo"
    assert manifest.stats["tokenizer_digest"] == tokenizer_digest(policy_folder) == tokenizer_digest(out / "hf")
    assert {"model", "prompts.0", "reward_functions.0"} <= set(manifest.inputs)
    assert manifest.stats["prompts_answered"] == 12 and "kl" in manifest.stats
    assert not (out / "scratch").exists() and list((out / "tensorboard").iterdir())
    AutoModelForCausalLM.from_pretrained(out / "hf")
    assert load_model(out).tokenizer.eos_token == "<|im_end|>"
    before, after = load_file(policy_folder / "model.safetensors"), load_file(out / "hf" / "model.safetensors")
    assert any(not torch.equal(before[name], tensor) for name, tensor in after.items())

    lines = read_metrics(out / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3]
    wanted = {
        *("reward", "reward_std", "reward_letters", "reward_shaped", "kl", "kl_per_token", "entropy", "loss"),
        *("zero_variance_share", "groups_sampled", "groups_trained", "tries", "response_length", "eos_share"),
        *("clip_fraction", "approx_kl", "ratio", "grad_norm", "learning_rate", "policy_steps", "seconds"),
    }
    assert wanted <= set(lines[0])
    assert lines[0]["ratio"] == 1.0, "the first pass's ratios are exactly 1"
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [s["step"] for s in samples] == [1] * 3 + [3] * 3 + [4] * 3
    assert {"prompt", "completion", "score", "kl", "finished"} <= set(samples[0])


@pytest.mark.parametrize("method", ["grpo", "tree_grpo"])
def test_reward_rises(make_config: MakeConfig, tmp_path: Path, method: str) -> None:
    settings = [
        *(f"method={method}", "updates=10", "rollout_size=64", "samples_per_prompt=8", "epochs=2", "minibatches=2"),
        *("learning_rate=3e-3", "kl.coef=0", "micro_batch_size=64"),
        *(["tree.step_tokens=3"] if method == "tree_grpo" else []),
    ]
    lines = read_metrics(train_group(make_config(*settings), tmp_path / "grpo") / "metrics.jsonl")
    assert lines[-1]["reward"] > lines[0]["reward"] + 2 * lines[0]["reward_std"] / 8
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-5) and lines[-1]["kl"] > 0.01
    assert (lines[0]["shared_tokens"] > 0) == (method == "tree_grpo")


@pytest.fixture(scope="module")
def whole(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_group(make_config(*SETTINGS, reward="vowel"), tmp_path_factory.mktemp("whole") / "grpo")


@pytest.mark.parametrize("steps", [3, 8])
def test_resume_inside_a_rollout_is_bit_identical(
    make_config: MakeConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    config = make_config(*SETTINGS, reward="vowel")
    original, taken = GroupUpdater._accumulate, [0]

    def counting(self: GroupUpdater, *rest: Any) -> Any:
        if taken[0] == steps:
            raise Killed
        taken[0] += 1
        return original(self, *rest)

    monkeypatch.setattr(GroupUpdater, "_accumulate", counting)
    with pytest.raises(Killed):
        train_group(config, tmp_path / "grpo")
    assert not (tmp_path / "grpo").exists()
    taken[0] = -1000
    torch.manual_seed(time.time_ns() % 2**31)  # what the process did before must not matter
    again = train_group(config, tmp_path / "grpo")
    assert taken[0] + 1000 == STEPS - steps, "no optimizer step is taken twice, and none is left out"
    same(whole, again)


def test_resume_inside_sampling_is_bit_identical(
    make_config: MakeConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(*SETTINGS, reward="vowel")
    original, draws = GroupRolloutMaker._answer, [0]

    def dying(self: GroupRolloutMaker, *rest: Any) -> Any:
        draws[0] += 1
        if draws[0] == 3:
            raise Killed
        return original(self, *rest)

    monkeypatch.setattr(GroupRolloutMaker, "_answer", dying)
    with pytest.raises(Killed):
        train_group(config, tmp_path / "grpo")
    same(whole, train_group(config, tmp_path / "grpo"))


@pytest.mark.slow
def test_resume_after_kill_9(make_config: MakeConfig, tmp_path: Path) -> None:
    settings = ("method=dapo", "updates=24", "epochs=2", "save_every=3", "save_every_steps=1", "rollout_size=32")
    config = make_config(*settings, "max_new_tokens=24", reward="vowel")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    code = (
        "import sys; from millbase.config import load_config; from training.posttrain.group import *; "
        "train_group(load_config(GroupConfig, sys.argv[1]), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "config.json"), str(tmp_path / "killed")]
    metrics = work_directory(tmp_path / "killed") / "metrics.jsonl"
    for lines in (4, 9, 14):
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
        while len(read_metrics(metrics)) < lines:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed").exists()
    same(train_group(config, tmp_path / "whole"), train_group(config, tmp_path / "killed"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dapo", "rloo", "tree_grpo"])
def test_two_processes_agree_with_one(make_config: MakeConfig, tmp_path: Path, method: str) -> None:
    settings = [f"method={method}", "minibatches=2", "adam_epsilon=1e-3"]
    if method == "tree_grpo":
        settings += ["tree.step_tokens=3", "samples_per_prompt=8"]
    one = train_group(make_config(*settings), tmp_path / "one")
    two = train_group(make_config(*settings, "processes=2"), tmp_path / "two")
    for a, b in zip(timeless(one), timeless(two), strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)
    first, second = (load_file(out / "hf" / "model.safetensors") for out in (one, two))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-3, atol=1e-4)


def test_failing_rewards(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="'broken' returned nan"):
        train_group(make_config(reward="broken"), tmp_path / "stopped")
    settings = ("reward.on_error=skip", "reward.max_error_share=0.9", "updates=2")
    out = train_group(make_config(*settings, reward="picky"), tmp_path / "skipped")
    errors = [json.loads(line) for line in (out / "reward_errors.jsonl").read_text().splitlines()]
    lines = read_metrics(out / "metrics.jsonl")
    assert len(errors) == sum(line["reward_errors"] for line in lines) > 0
    assert all(e["source"] == "picky" and "odd length" in e["reason"] and e["done"] == "skip" for e in errors)
    assert all("completion" in e and "prompt" in e for e in errors)
    with pytest.raises(StageError, match="max_error_share"):
        train_group(make_config("reward.on_error=zero", reward="picky"), tmp_path / "many")


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("model=/nowhere/model", UserError, "/nowhere/model"),
        ("prompts=/nowhere/prompts.jsonl", InputError, "/nowhere/prompts.jsonl"),
        ("max_new_tokens=128", ConfigError, "max_new_tokens = 128 leaves no room"),
        ("learning_rate=1e30", StageError, "diverged"),
        ('reward.verifiable=[{"check": "code"}]', InputError, "reads the column 'tests', which 30 of 30"),
        ('reward.verifiable=[{"check": "maths"}, {"check": "maths"}]', ConfigError, "two entries called 'maths'"),
    ],
)
def test_mistakes_give_one_clear_line(
    make_config: MakeConfig, tmp_path: Path, override: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        train_group(make_config(override, "updates=3"), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
