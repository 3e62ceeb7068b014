"""From scores and values to advantages: token rewards, generalised advantage estimation, masked statistics.

Shapes: B completions, C completion tokens (padded on the right), `mask` [B, C] true on real tokens.
"""

from __future__ import annotations

import torch

EPSILON = 1e-8
"""Added to a variance before its root is divided by."""


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `x` where `mask` is true; a scalar. The mask must not be empty."""
    return (x * mask).sum() / mask.sum()


def masked_variance(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Population variance of `x` where `mask` is true; two passes, so a large mean costs no precision."""
    return masked_mean((x - masked_mean(x, mask)).square(), mask)


def whiten(x: torch.Tensor, mask: torch.Tensor, shift_mean: bool = True) -> torch.Tensor:
    """Scale to variance 1 over the real tokens, and to mean 0 unless `shift_mean` is off; padding becomes 0.

    Huang et al. 2024, section 3.6: rewards keep their mean, advantages do not.
    """
    mean = masked_mean(x, mask)
    white = (x - mean) * torch.rsqrt(masked_variance(x, mask) + EPSILON)
    if not shift_mean:
        white = white + mean
    return white * mask


def token_rewards(scores_B: torch.Tensor, kl_BC: torch.Tensor, mask: torch.Tensor, kl_coef: float) -> torch.Tensor:
    """Rewards [B, C]: the KL penalty on every real token, the score on the last one (the end-of-turn token, if any).

    Stiennon et al. 2020, section 3.4: R(x, y) = score(x, y) - coef * log(policy / reference), the score at the end.
    """
    rewards = -kl_coef * kl_BC * mask
    (rows,) = mask.any(1).nonzero(as_tuple=True)  # a completion without tokens gets nothing
    rewards[rows, mask.sum(1)[rows] - 1] += scores_B[rows].to(rewards.dtype)
    return rewards


def generalized_advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and returns [B, C], zero on padding; a completion ends after its last token (nothing is bootstrapped).

    Schulman et al. 2015, equation 16: A_t = sum_l (gamma lam)^l delta_{t+l}, delta_t = r_t + gamma V_{t+1} - V_t,
    by the backward recursion A_t = delta_t + gamma lam A_{t+1}. Returns are A_t + V_t.
    """
    keep = mask.to(values.dtype)
    values = values * keep
    advantages = torch.zeros_like(values)
    next_advantage = torch.zeros_like(values[:, 0])
    next_value = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = (delta + gamma * lam * next_advantage) * keep[:, t]
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages, advantages + values


def explained_variance(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> float:
    """Share of the returns' variance that the values predict: 1 is perfect, 0 no better than a constant."""
    variance = masked_variance(returns, mask)
    return float(1 - masked_variance(returns - values, mask) / (variance + EPSILON))
