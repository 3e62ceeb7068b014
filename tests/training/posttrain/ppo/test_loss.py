"""Losses by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.posttrain.ppo.loss import StepStats, importance_weights, policy_loss, value_loss


def logs(*ratios: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(new, old) log-probabilities with these ratios; the new ones take gradients."""
    old = torch.full((len(ratios),), -1.0)
    return (old + torch.tensor(ratios).log()).requires_grad_(), old


def test_clipped_surrogate_by_hand() -> None:
    logp, old = logs(1.0, 1.5, 1.5, 0.5, 0.5)
    advantages = torch.tensor([2.0, 1.0, -1.0, 1.0, -1.0])
    loss, stats = policy_loss(logp, old, advantages, tokens=5, clip_low=0.2, clip_high=0.2)
    # min(r A, clip(r) A): 2, 1.2, -1.5, 0.5, -0.8
    assert float(loss) == pytest.approx(-(2 + 1.2 - 1.5 + 0.5 - 0.8) / 5)
    loss.backward()
    # no gradient where the clip holds: r too high with A > 0, r too low with A < 0
    assert logp.grad is not None
    assert logp.grad.tolist() == pytest.approx([-2 / 5, 0, 1.5 / 5, -0.5 / 5, 0])
    assert stats.clipped == 2
    assert stats.policy_tokens == 5
    expected = sum(r - 1 - math.log(r) for r in (1.0, 1.5, 1.5, 0.5, 0.5))
    assert stats.approx_kl == pytest.approx(expected, rel=1e-5)


def test_clip_higher_widens_only_the_upper_side() -> None:
    logp, old = logs(1.25, 0.75)
    loss, _ = policy_loss(logp, old, torch.tensor([1.0, -1.0]), tokens=1, clip_low=0.2, clip_high=0.28)
    assert float(loss) == pytest.approx(-(1.25 - 0.8))


def test_dual_clip_bounds_the_loss_of_negative_advantages() -> None:
    logp, old = logs(10.0, 10.0)
    loss, _ = policy_loss(logp, old, torch.tensor([-1.0, 1.0]), 1, 0.2, 0.2, dual_clip=3.0)
    assert float(loss) == pytest.approx(-(-3.0 + 1.2))
    loss.backward()
    assert logp.grad is not None
    assert logp.grad.tolist() == [0, 0]


def test_value_clipping_by_hand() -> None:
    values = torch.tensor([1.0, 0.5, -1.0], requires_grad=True)
    old, returns = torch.tensor([0.0, 0.5, 0.0]), torch.tensor([2.0, 0.0, -2.0])
    loss, total, clipped = value_loss(values, old, returns, tokens=3, clip=0.2)
    # errors: unclipped 1, 0.25, 1; clipped values 0.2, 0.5, -0.2 give 3.24, 0.25, 3.24; the larger counts
    assert float(loss) == pytest.approx(0.5 * (3.24 + 0.25 + 3.24) / 3)
    assert total == pytest.approx(0.5 * 6.73) and clipped == 2
    loss.backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0, 0.5 / 3, 0])


def test_value_loss_without_clipping() -> None:
    loss, _, clipped = value_loss(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([3.0]), 1, None)
    assert float(loss) == pytest.approx(2.0) and clipped == 0


def test_sums_over_parts_equal_the_whole() -> None:
    torch.manual_seed(0)
    logp, old, advantages = torch.randn(3, 40)
    whole, stats = policy_loss(logp, old, advantages, 40, 0.2, 0.2)
    added, parts = StepStats(), 0.0
    for part in (slice(0, 7), slice(7, 8), slice(8, 40)):
        loss, piece = policy_loss(logp[part], old[part], advantages[part], 40, 0.2, 0.2)
        parts += float(loss)
        added.add(piece)
    assert parts == pytest.approx(float(whole), rel=1e-5)
    assert added.as_list() == pytest.approx(stats.as_list(), rel=1e-5)


def test_importance_weights_are_truncated() -> None:
    weights = importance_weights(torch.tensor([0.0, -1.0]), torch.tensor([-3.0, 0.0]), cap=2.0)
    assert weights.tolist() == pytest.approx([2.0, math.exp(-1)])
    logp, old = logs(1.0, 1.0)
    loss, _ = policy_loss(logp, old, torch.ones(2), 1, 0.2, 0.2, weights=weights)
    assert float(loss) == pytest.approx(-(2 + math.exp(-1)))
