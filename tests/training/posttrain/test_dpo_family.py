"""Every preference objective against its paper's formula in float64; the cache of the reference; the alarm."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from millbase.artifacts import open_artifact
from millbase.errors import StageError
from millbase.metrics import read_metrics
from training.posttrain import objectives
from training.posttrain.dpo import WITHOUT_REFERENCE, DpoConfig, train_dpo

from .conftest import pairs, small_run
from .test_dpo import answer_logprobs

BETA, SMOOTHING, GAMMA = 0.3, 0.2, 0.7


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, write_rows: Any) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "few.jsonl", pairs(12, seed=4))


@pytest.fixture(scope="module")
def sides(checkpoint: Path, other: Path, few: Path) -> dict[str, Tensor]:
    """Summed log-probabilities (policy w, l; reference rw, rl) and lengths (nw, nl) of the twelve pairs, in float64."""
    rows = [json.loads(line) for line in few.read_text().splitlines()]
    found: dict[str, Tensor] = {}
    for name, folder in (("", checkpoint), ("r", other)):
        for letter, side in (("w", "chosen"), ("l", "rejected")):
            tokens = answer_logprobs(folder, rows, side)
            found[name + letter] = torch.stack([row.sum() for row in tokens])
            found["n" + letter] = torch.tensor([float(len(row)) for row in tokens], dtype=torch.float64)
    return found


def by_hand(loss: str, s: dict[str, Tensor]) -> Tensor:
    """Mean loss over the pairs, written down from the papers."""
    chosen, rejected = s["w"] - s["rw"], s["l"] - s["rl"]
    margin = BETA * (chosen - rejected)
    mean_w, mean_l = s["w"] / s["nw"], s["l"] / s["nl"]
    formulas: dict[str, Callable[[], Tensor]] = {
        "sigmoid": lambda: -F.logsigmoid(margin),
        "cdpo": lambda: -(1 - SMOOTHING) * F.logsigmoid(margin) - SMOOTHING * F.logsigmoid(-margin),
        "robust": lambda: (
            (-(1 - SMOOTHING) * F.logsigmoid(margin) + SMOOTHING * F.logsigmoid(-margin)) / (1 - 2 * SMOOTHING)
        ),
        "hinge": lambda: torch.relu(1 - margin),
        "ipo": lambda: (chosen / s["nw"] - rejected / s["nl"] - 1 / (2 * BETA)) ** 2,
        "apo_zero": lambda: 1 - torch.sigmoid(BETA * chosen) + torch.sigmoid(BETA * rejected),
        "apo_down": lambda: torch.sigmoid(BETA * chosen) + 1 - torch.sigmoid(margin),
        "simpo": lambda: -F.logsigmoid(BETA * (mean_w - mean_l) - GAMMA),
        "orpo": lambda: (
            -mean_w
            - BETA * F.logsigmoid(torch.log(mean_w.exp() / (1 - mean_w.exp()) / (mean_l.exp() / (1 - mean_l.exp()))))
        ),
    }
    return formulas[loss]().mean()


@pytest.mark.parametrize("loss", ["cdpo", "robust", "hinge", "ipo", "apo_zero", "apo_down", "simpo", "orpo"])
def test_loss_is_the_papers(
    loss: str, checkpoint: Path, other: Path, few: Path, sides: dict[str, Tensor], tmp_path: Path
) -> None:
    free = loss in WITHOUT_REFERENCE
    settings = DpoConfig(
        **small_run(
            checkpoint,
            few,
            loss=loss,
            reference=None if free else str(other),
            beta=BETA,
            label_smoothing=SMOOTHING if loss in ("cdpo", "robust") else 0.0,
            simpo_gamma=GAMMA,
            batch_size=12,
            micro_batch_size=4,
            max_steps=1,
        )
    )
    line = read_metrics(train_dpo(settings, tmp_path / "dpo") / "metrics.jsonl")[0]
    assert line["loss"] == pytest.approx(float(by_hand(loss, sides)), rel=2e-5)
    lengths = (sides["nw"], sides["nl"]) if free else (1.0, 1.0)
    rewards = [
        BETA * (sides[side] - (0 if free else sides["r" + side])) / length
        for side, length in zip(("w", "l"), lengths, strict=True)
    ]
    assert line["margin"] == pytest.approx(float((rewards[0] - rewards[1]).mean()), rel=1e-4)
    assert line["accuracy"] == pytest.approx(float((rewards[0] > rewards[1]).double().mean()))


@pytest.mark.parametrize("loss", ["cdpo", "orpo"])
def test_the_supervised_term_and_no_cached_reference(
    loss: str, checkpoint: Path, other: Path, few: Path, sides: dict[str, Tensor], tmp_path: Path
) -> None:
    """cDPO with the reference run at every step, and the cross-entropy added; ORPO brings its own."""
    extra: dict[str, Any] = {}
    expected = by_hand(loss, sides)
    if loss == "cdpo":
        extra = {
            "sft_weight": 0.5,
            "precompute_reference": False,
            "reference": str(other),
            "label_smoothing": SMOOTHING,
        }
        expected = expected - 0.5 * (sides["w"] / sides["nw"]).mean()
    settings = DpoConfig(**small_run(checkpoint, few, loss=loss, beta=BETA, batch_size=12, max_steps=1, **extra))
    line = read_metrics(train_dpo(settings, tmp_path / "dpo") / "metrics.jsonl")[0]
    assert line["loss"] == pytest.approx(float(expected), rel=2e-5)


def test_log1mexp_is_exact_and_has_finite_gradients_everywhere() -> None:
    x = torch.tensor([-1e-5, -0.1, -0.6931, -0.6932, -2.0, -30.0], dtype=torch.float64, requires_grad=True)
    values = objectives.log1mexp(x)
    exact = [math.log(-math.expm1(float(v))) if v > -1 else math.log1p(-math.exp(float(v))) for v in x.detach()]
    assert values.tolist() == pytest.approx(exact, rel=1e-12)
    values.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([-math.exp(float(v)) / -math.expm1(float(v)) for v in x.detach()], rel=1e-9)
    certain = torch.zeros(3, requires_grad=True)
    objectives.log1mexp(certain).sum().backward()
    assert certain.grad is not None and bool(certain.grad.isfinite().all())


def test_reference_logprobs_are_kept_by_digest(
    checkpoint: Path, other: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.posttrain.stages.dpo import DpoTrainer

    def run(name: str, **changes: Any) -> list[float]:
        settings = small_run(
            checkpoint, few, reference=str(other), reference_cache=str(tmp_path / "kept"), max_steps=2, batch_size=4
        )
        out = train_dpo(DpoConfig(**{**settings, **changes}), tmp_path / name)
        return [line["loss"] for line in read_metrics(out / "metrics.jsonl")]

    compute, calls = DpoTrainer._reference_logprobs, []
    monkeypatch.setattr(DpoTrainer, "_reference_logprobs", lambda *a: (calls.append(1), compute(*a))[1])
    first = run("first")
    (kept,) = (tmp_path / "kept").iterdir()
    assert run("again") == first and len(calls) == 1
    run("other_rate", learning_rate=1e-4)
    assert len(calls) == 1, "the digest does not depend on how it is used"
    run("other_reference", reference=str(checkpoint))
    assert len(calls) == 2 and len(list((tmp_path / "kept").iterdir())) == 2
    kept.write_bytes(kept.read_bytes()[:40])
    assert run("damaged") == first and len(calls) == 3


def test_the_alarm_for_falling_chosen_answers(checkpoint: Path, few: Path, tmp_path: Path) -> None:
    """APO-down lowers chosen answers by design, plain DPO on these pairs does not."""
    settings = small_run(checkpoint, few, max_steps=12, batch_size=12, learning_rate=3e-3, save_every=6)
    falling = {**settings, "loss": "apo_down"}
    out = train_dpo(DpoConfig(**falling, chosen_drop=0.02), tmp_path / "warned")
    noted = open_artifact(out).stats["chosen_drop"]
    lines = read_metrics(out / "metrics.jsonl")
    changes = [(x["reward_chosen"] / 0.1) / -(x["logprob_chosen"] - x["reward_chosen"] / 0.1) for x in lines]
    assert noted["worst"] == pytest.approx(min(changes), rel=1e-3) and min(changes) < -0.02
    assert noted["first_step"] == next(x["step"] for x, change in zip(lines, changes, strict=True) if change < -0.02)
    with pytest.raises(StageError, match=r"chosen answers have become less likely .* sft_weight"):
        train_dpo(DpoConfig(**falling, chosen_drop=0.02, on_chosen_drop="stop"), tmp_path / "stopped")
    assert not (tmp_path / "stopped").exists()
    plain = open_artifact(train_dpo(DpoConfig(**settings), tmp_path / "plain")).stats["chosen_drop"]
    assert plain["first_step"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "sigmoid", "label_smoothing": 0.1}, "label_smoothing = 0.1 has no meaning"),
        ({"loss": "exo_pair"}, "needs label_smoothing > 0"),
        ({"loss": "simpo", "reference": "x"}, "uses no reference model"),
        ({"loss": "orpo", "sft_weight": 0.2}, "cross-entropy in it already"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DpoConfig(model="m", data="d", **settings)
