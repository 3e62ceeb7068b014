"""Advantages against their O(T^2) definition; masked statistics against selected elements."""

from __future__ import annotations

import pytest
import torch

from training.posttrain.ppo.advantages import (
    explained_variance,
    generalized_advantages,
    masked_mean,
    masked_variance,
    token_rewards,
    whiten,
)

LENGTHS = [1, 4, 7, 3]


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]


def definition(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """Equation 16 of Schulman et al. 2015, as written, for one episode that ends."""
    steps = len(rewards)
    following = [*values[1:], 0.0]
    deltas = [rewards[t] + gamma * following[t] - values[t] for t in range(steps)]
    return [sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, steps)) for t in range(steps)]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_gae_equals_its_definition(mask: torch.Tensor, gamma: float, lam: float) -> None:
    torch.manual_seed(0)
    rewards, values = torch.randn(mask.shape, dtype=torch.float64), torch.randn(mask.shape, dtype=torch.float64)
    advantages, returns = generalized_advantages(rewards * mask, values, mask, gamma, lam)
    for row, length in enumerate(LENGTHS):
        expected = definition(rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, lam)
        assert advantages[row, :length].tolist() == pytest.approx(expected, abs=1e-12)
        assert (advantages[row, length:] == 0).all() and (returns[row, length:] == 0).all()
        expected_returns = [a + v for a, v in zip(expected, values[row].tolist(), strict=False)]
        assert returns[row, :length].tolist() == pytest.approx(expected_returns, abs=1e-12)


def test_lambda_one_gives_monte_carlo_returns(mask: torch.Tensor) -> None:
    rewards = torch.rand(mask.shape) * mask
    _, returns = generalized_advantages(rewards, torch.randn(mask.shape), mask, 1.0, 1.0)
    expected = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(returns, expected * mask)


def test_values_on_padding_do_not_matter(mask: torch.Tensor) -> None:
    rewards, values = torch.rand(mask.shape) * mask, torch.randn(mask.shape)
    first = generalized_advantages(rewards, values, mask, 1.0, 0.95)
    second = generalized_advantages(rewards, torch.where(mask, values, 1e6), mask, 1.0, 0.95)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_score_lands_on_the_last_real_token(mask: torch.Tensor) -> None:
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0])
    rewards = token_rewards(scores, torch.zeros(mask.shape), mask, 0.1)
    for row, length in enumerate(LENGTHS):
        expected = [0.0] * mask.shape[1]
        expected[length - 1] = float(scores[row])
        assert rewards[row].tolist() == expected


def test_kl_penalty_is_per_token_and_not_on_padding(mask: torch.Tensor) -> None:
    rewards = token_rewards(torch.zeros(4), torch.full(mask.shape, 2.0), mask, 0.5)
    assert torch.equal(rewards, -1.0 * mask)


def test_masked_statistics_see_real_tokens_only(mask: torch.Tensor) -> None:
    x = torch.where(mask, torch.randn(mask.shape) * 3 + 100, torch.nan_to_num(torch.tensor(1e9)))
    assert float(masked_mean(x, mask)) == pytest.approx(float(x[mask].mean()), rel=1e-6)
    assert float(masked_variance(x, mask)) == pytest.approx(float(x[mask].var(correction=0)), rel=1e-3)


def test_whitening(mask: torch.Tensor) -> None:
    torch.manual_seed(1)
    x = torch.randn(mask.shape) * 3 + 7
    white = whiten(x, mask)
    assert float(white[mask].mean()) == pytest.approx(0, abs=1e-6)
    assert float(white[mask].std(correction=0)) == pytest.approx(1, rel=1e-5)
    assert (white[~mask] == 0).all()
    kept = whiten(x, mask, shift_mean=False)
    assert float(kept[mask].mean()) == pytest.approx(float(x[mask].mean()), rel=1e-5)
    assert float(kept[mask].std(correction=0)) == pytest.approx(1, rel=1e-5)


def test_explained_variance(mask: torch.Tensor) -> None:
    returns = torch.randn(mask.shape)
    assert explained_variance(returns, returns, mask) == pytest.approx(1)
    assert explained_variance(torch.zeros_like(returns), returns, mask) == pytest.approx(0, abs=1e-6)
    assert explained_variance(-returns, returns, mask) < 0
