"""Online DPO: the loss against the models' own softmax in float64, micro-batches that change nothing, resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from millbase.artifacts import OpenArtifact, open_artifact
from millbase.errors import StageError
from millbase.metrics import read_metrics
from training.posttrain.feedback.answers import Answer
from training.posttrain.feedback.config import OnlineDpoConfig
from training.posttrain.feedback.online import (
    OnlineDpo,
    TokenPair,
    best_and_worst,
    learning_rate_scale,
    train_online_dpo,
)
from training.posttrain.feedback.online_loss import pair_losses, sequence_logprobs

PAIRS = [
    TokenPair(([7, 8, 9], [10, 11, 12]), ([7, 8, 9], [13])),
    TokenPair(([20, 21], [22]), ([20, 21], [23, 24, 25, 26])),
    TokenPair(([30], [31, 32]), ([30], [33, 34])),
]


@pytest.fixture(scope="module")
def make_config(sampling: dict[str, Any], rewards_file: Path) -> Callable[..., OnlineDpoConfig]:
    def make(**changes: Any) -> OnlineDpoConfig:
        values = {
            **sampling,
            "reward": {"functions": [f"{rewards_file}:vowels"]},
            "updates": 5,
            "prompts_per_update": 6,
            "learning_rate": 1e-3,
            "warmup_updates": 0,
            "save_every": 2,
            "sample_every": 2,
            "require_end": False,
            **changes,
        }
        return OnlineDpoConfig.model_validate(values)

    return make


@pytest.fixture
def make_run(make_config: Callable[..., OnlineDpoConfig], tmp_path: Path) -> Callable[..., OnlineDpo]:
    count = 0

    def make(**changes: Any) -> OnlineDpo:
        nonlocal count
        count += 1
        path = tmp_path / f"work{count}"
        path.mkdir()
        return OnlineDpo(make_config(**changes), OpenArtifact(path))

    return make


def plain_logprob(model: Any, prompt: list[int], completion: list[int], temperature: float) -> torch.Tensor:
    """Summed log-probability by the model's whole softmax in float64, unpadded."""
    logits = model.double()(torch.tensor([prompt + completion])).logits[0] / temperature
    logps = logits.log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(completion) - 1)
    return torch.stack([logps[place, token] for place, token in zip(places, completion)]).sum()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sequence_logprobs(make_run: Callable[..., OnlineDpo], temperature: float) -> None:
    run = make_run()
    sequences = [side for pair in PAIRS for side in (pair.chosen, pair.rejected)]
    found = sequence_logprobs(run.policy, sequences, temperature, chunk=4)
    model = run.reference.model  # the same weights, and it may be made float64
    expected = [plain_logprob(model, *one, temperature).detach() for one in sequences]
    assert found.detach().tolist() == pytest.approx([float(one) for one in expected], abs=1e-4)


def test_losses_by_hand() -> None:
    """log-ratios 1.5 and -0.5 at beta 0.2: -log sigmoid(0.4) = 0.5130152523999526 (Rafailov et al., equation 7)."""
    chosen, rejected = torch.tensor([-3.0], dtype=torch.float64), torch.tensor([-8.0], dtype=torch.float64)
    reference = (torch.tensor([-4.5], dtype=torch.float64), torch.tensor([-7.5], dtype=torch.float64))
    lengths = (torch.tensor([3.0], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64))
    losses, rewards = pair_losses(chosen, rejected, *reference, lengths, 0.2, "sigmoid")
    assert float(losses[0]) == pytest.approx(0.5130152523999526, abs=1e-12)
    assert rewards.flatten().tolist() == pytest.approx([0.3, -0.1], abs=1e-12)
    # ipo: (1.5 / 3 + 0.5 / 2 - 1 / 0.4)^2 = (0.75 - 2.5)^2
    losses, _ = pair_losses(chosen, rejected, *reference, lengths, 0.2, "ipo")
    assert float(losses[0]) == pytest.approx(1.75**2, abs=1e-12)


@pytest.mark.parametrize(("loss", "sft_weight"), [("sigmoid", 0.0), ("ipo", 0.0), ("sigmoid", 0.3)])
def test_gradient_is_that_of_the_formula(make_run: Callable[..., OnlineDpo], loss: str, sft_weight: float) -> None:
    """One step's gradient, cut into micro-batches of one pair, against autograd over whole softmaxes in float64."""
    run = make_run(loss=loss, sft_weight=sft_weight, micro_batch_size=1, beta=0.3, max_grad_norm=1e9)
    reference = torch.tensor([[-9.0, -4.0], [-3.0, -20.0], [-7.0, -7.5]])
    model = run.reference.model.requires_grad_(True)
    total = torch.zeros((), dtype=torch.float64)
    for pair, (ref_chosen, ref_rejected) in zip(PAIRS, reference.double()):
        chosen, rejected = (plain_logprob(model, *side, 1.0) for side in (pair.chosen, pair.rejected))
        n, m = len(pair.chosen[1]), len(pair.rejected[1])
        if loss == "sigmoid":
            one = torch.log1p(torch.exp(-0.3 * ((chosen - ref_chosen) - (rejected - ref_rejected))))
        else:
            one = ((chosen - ref_chosen) / n - (rejected - ref_rejected) / m - 1 / 0.6) ** 2
        total = total + one - sft_weight * chosen / n
    (total / 3).backward()
    run._step(0, 0, [2, 0, 1], PAIRS, reference.flatten())
    for (name, ours), theirs in zip(run.policy.model.named_parameters(), model.parameters()):
        assert ours.grad is not None and theirs.grad is not None
        scale = float(theirs.grad.abs().max())
        assert float((ours.grad - theirs.grad).abs().max()) <= 1e-4 * scale + 1e-7, name


def test_cutting_into_micro_batches_changes_nothing(make_run: Callable[..., OnlineDpo]) -> None:
    weights = []
    for size in (1, 4, 64):
        run = make_run(micro_batch_size=size)
        metrics = [run.update(number) for number in range(2)]
        assert all(one["pairs"] > 2 for one in metrics)
        weights.append(torch.cat([w.detach().flatten() for w in run.policy.model.parameters()]))
    assert float((weights[0] - weights[2]).abs().max()) < 2e-4
    assert float((weights[1] - weights[2]).abs().max()) < 2e-4


def test_the_first_update_starts_at_the_reference(make_run: Callable[..., OnlineDpo]) -> None:
    metrics = make_run().update(0)
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-4)
    assert metrics["loss"] == pytest.approx(0.6931, abs=1e-3), "-log sigmoid(0)"
    assert metrics["margin"] == pytest.approx(0.0, abs=1e-4)


def test_it_learns_what_is_rewarded(make_config: Callable[..., OnlineDpoConfig], tmp_path: Path) -> None:
    config = make_config(updates=12, prompts_per_update=12, learning_rate=3e-3, save_every=100, schedule="constant")
    out = train_online_dpo(config, tmp_path / "out")
    lines = read_metrics(out / "metrics.jsonl")
    before, after = (sum(line["score"] for line in part) / 3 for part in (lines[:3], lines[-3:]))
    assert after > before + 0.05
    assert lines[-1]["kl"] > 0.1
    samples = read_metrics(out / "samples.jsonl")
    assert {line["step"] for line in samples} == {1, 3, 5, 7, 9, 11}


KILLED = """
import os, signal, sys
from training.posttrain.feedback import online
from training.posttrain.feedback.config import OnlineDpoConfig

update = online.OnlineDpo.update
def killed(self, number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(self, number)
online.OnlineDpo.update = killed
online.train_online_dpo(OnlineDpoConfig.model_validate_json(open(sys.argv[1]).read()), sys.argv[2])
"""


def test_killed_and_started_again(
    make_config: Callable[..., OnlineDpoConfig], tmp_path: Path, repository: Path
) -> None:
    config = make_config()
    whole = train_online_dpo(config, tmp_path / "whole")
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [sys.executable, "-c", KILLED, str(tmp_path / "config.json"), str(tmp_path / "out")]
    died = subprocess.run(command, cwd=repository, capture_output=True, text=True, env={**os.environ})
    assert died.returncode == -signal.SIGKILL, died.stderr
    out = train_online_dpo(config, tmp_path / "out")

    def timeless(folder: Path) -> list[dict[str, Any]]:
        lines = read_metrics(folder / "metrics.jsonl")
        return [{k: v for k, v in line.items() if k != "time" and not k.startswith("seconds")} for line in lines]

    assert timeless(out) == timeless(whole)
    assert (out / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
    assert open_artifact(out).digest == open_artifact(whole).digest


def test_killed_after_the_last_update(
    make_config: Callable[..., OnlineDpoConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(updates=2)

    def full(*_: Any) -> None:
        raise StageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("training.posttrain.feedback.online.export", full)
        with pytest.raises(StageError, match="the disk is full"):
            train_online_dpo(config, tmp_path / "out")
    out = train_online_dpo(config, tmp_path / "out")
    assert len(read_metrics(out / "metrics.jsonl")) == 2
    assert open_artifact(out).stats["final"]["pairs"] > 0


def test_scores_that_never_differ_stop_the_run(make_config: Callable[..., OnlineDpoConfig], tmp_path: Path) -> None:
    file = tmp_path / "same.py"
    file.write_text("def same(completions):\n    return [1.0] * len(completions)\n")
    config = make_config(reward={"functions": [f"{file}:same"]}, idle_updates=2)
    with pytest.raises(StageError, match="no pair in 2 updates in a row"):
        train_online_dpo(config, tmp_path / "out")


def test_best_and_worst() -> None:
    def made(*values: tuple[float | None, bool]) -> list[Answer]:
        return [Answer("x", 3, finished, score) for score, finished in values]

    assert best_and_worst(made((1.0, True), (3.0, True), (0.0, True)), True, 0.0) == (1, 2)
    assert best_and_worst(made((5.0, False), (1.0, True), (0.0, False)), True, 0.0) == (1, 2)
    assert best_and_worst(made((5.0, False), (1.0, True)), False, 0.0) == (0, 1)
    assert best_and_worst(made((1.0, True), (None, True)), True, 0.0) is None
    assert best_and_worst(made((1.0, True), (0.5, True)), True, 0.5) is None
    assert best_and_worst(made((1.0, False), (0.5, False)), True, 0.0) is None


def test_learning_rate(make_config: Callable[..., OnlineDpoConfig]) -> None:
    config = make_config(updates=10, warmup_updates=2, minibatches=2)
    scales = [learning_rate_scale(config, update, step) for update in range(10) for step in range(2)]
    assert scales[:4] == [0.25, 0.5, 0.75, 1.0]
    assert scales[-1] == pytest.approx(0.1)
    assert scales[4:] == sorted(scales[4:], reverse=True)
    assert learning_rate_scale(make_config(schedule="constant"), 4, 0) == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": None}, "exactly one of reward and judge"),
        ({"judge": {"model": "x"}}, "exactly one of reward and judge"),
        ({"limit": 5}, "limit and block do not apply"),
        ({"samples": 1}, "greater than 1"),
    ],
)
def test_configurations_that_cannot_be(
    make_config: Callable[..., OnlineDpoConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(**changes)
