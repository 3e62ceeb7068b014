"""The same numbers through TRL's own losses: `GRPOTrainer._compute_loss` and `RLOOTrainer._compute_loss`, run on a
stand-in trainer that has their settings and log-probabilities instead of a model."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl.rewards import get_soft_overlong_punishment
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

from training.posttrain.group.objectives import group_loss, kl_loss, overlong_punishment, row_weights
from training.posttrain.group.options import LossConfig

LENGTHS = [3, 6, 1, 4]
LONGEST = 9


@pytest.fixture
def numbers() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (len(LENGTHS), max(LENGTHS))
    draw = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name in ("new", "step", "reference")}
    mask = torch.arange(shape[1])[None] < torch.tensor(LENGTHS)[:, None]
    return {
        "new": draw["new"] - 2,
        "old": draw["new"] - 2 + 0.4 * draw["step"],
        "reference": draw["new"] - 2 + 0.3 * draw["reference"],
        "mask": mask,
        "advantages": torch.tensor([1.2, -0.7, 0.3, -1.5], dtype=torch.float64),
    }


def stand_in(logp: torch.Tensor, **settings: Any) -> Any:
    accelerator = SimpleNamespace(
        num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x, gather_for_metrics=lambda x: x
    )
    return SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (logp, torch.zeros_like(logp), None),
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False, aux_loss_enabled=False,
        _entropy_bonus_enabled=False, current_gradient_accumulation_steps=1, max_completion_length=LONGEST,
        model=SimpleNamespace(training=True), accelerator=accelerator,
        _metrics={"train": defaultdict(list)},
        args=SimpleNamespace(use_bias_correction_kl=False, delta=settings.pop("delta", None), steps_per_generation=1),
        **settings,
    )  # fmt: skip


def inputs(numbers: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    ids = torch.ones(numbers["new"].shape, dtype=torch.long)
    mask = numbers["mask"].to(torch.long)
    return {
        "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1], "completion_ids": ids, "completion_mask": mask,
        "advantages": numbers["advantages"], "old_per_token_logps": numbers["old"],
        "ref_per_token_logps": numbers["reference"], "num_items_in_batch": mask.sum(),
    }  # fmt: skip


def ours(numbers: dict[str, torch.Tensor], logp: torch.Tensor, config: LossConfig, beta: float = 0.0) -> torch.Tensor:
    mask = numbers["mask"]
    rows = mask.nonzero()[:, 0]
    weights = row_weights(mask.sum(1), config.normalization, config.constant or LONGEST)[rows]
    loss, _ = group_loss(logp[mask], numbers["old"][mask], numbers["advantages"][rows], weights, rows, config)
    return loss + beta * kl_loss(logp[mask], numbers["reference"][mask], weights, "k3")


@pytest.mark.parametrize(
    ("loss_type", "level", "settings"),
    [
        ("grpo", "token", {}),
        ("dr_grpo", "token", {"normalization": "constant"}),
        ("dapo", "token", {"normalization": "token", "clip_high": 0.28}),
        ("grpo", "sequence", {"ratio": "sequence", "clip_low": 0.05, "clip_high": 0.08}),
        # TRL bounds the ratio where the advantage is positive too; with a lower clip_high that changes nothing
        ("grpo", "token", {"dual_clip": 1.1, "clip_high": 0.05}),
    ],
)
@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_group_losses(
    numbers: dict[str, torch.Tensor], loss_type: str, level: str, settings: dict[str, Any], beta: float
) -> None:
    config = LossConfig(**settings)
    theirs = numbers["new"].clone().requires_grad_()
    trainer = stand_in(
        theirs, loss_type=loss_type, importance_sampling_level=level, beta=beta, epsilon_low=config.clip_low,
        epsilon_high=config.clip_high, delta=config.dual_clip,
    )  # fmt: skip
    wanted = GRPOTrainer._compute_loss(trainer, trainer.model, inputs(numbers))
    logp = numbers["new"].clone().requires_grad_()
    actual = ours(numbers, logp, config, beta)
    assert float(actual) == pytest.approx(float(wanted), rel=1e-10)
    wanted.backward()
    actual.backward()
    assert logp.grad is not None and theirs.grad is not None
    torch.testing.assert_close(logp.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_rloo(numbers: dict[str, torch.Tensor]) -> None:
    theirs = numbers["new"].clone().requires_grad_()
    trainer = stand_in(theirs, epsilon_low=0.2, epsilon_high=0.2, beta=0.0)
    given = inputs(numbers)
    given["old_logps"] = (numbers["old"] * numbers["mask"]).sum(1)
    wanted = RLOOTrainer._compute_loss(trainer, trainer.model, given)
    logp = numbers["new"].clone().requires_grad_()
    actual = ours(numbers, logp, LossConfig(ratio="sequence_sum"))
    assert float(actual) == pytest.approx(float(wanted), rel=1e-10)
    wanted.backward()
    actual.backward()
    assert logp.grad is not None and theirs.grad is not None
    torch.testing.assert_close(logp.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_soft_overlong_punishment() -> None:
    lengths = list(range(1, 40))
    theirs = get_soft_overlong_punishment(32, 10)([[1] * n for n in lengths])
    assert [overlong_punishment(n, 32, 10) for n in lengths] == pytest.approx(theirs)
