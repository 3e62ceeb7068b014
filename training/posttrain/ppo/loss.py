"""PPO's losses: pure functions of log-probabilities, values and advantages.

Inputs are flat over the real tokens of a micro-batch, shape [N]; padding never gets here. Every loss is a sum divided
by `tokens`, the number of completion tokens in the whole optimizer step (all micro-batches of all processes), so
gradients that are summed over micro-batches and processes do not depend on how the step was cut up.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch


@dataclass
class StepStats:
    """Sums over the tokens of an optimizer step, with the counts to divide them by."""

    policy_tokens: float = 0.0
    value_tokens: float = 0.0
    policy_loss: float = 0.0
    value_loss: float = 0.0
    clipped: float = 0.0
    """Tokens whose ratio lies outside the clip range on the side where the loss stops following."""
    value_clipped: float = 0.0
    approx_kl: float = 0.0
    """Sum of the k3 estimate of KL(rollout policy || current policy)."""
    ratio: float = 0.0

    def add(self, other: StepStats) -> None:
        """Add another part's sums."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def as_list(self) -> list[float]:
        """The sums in field order, for adding over processes."""
        return [getattr(self, field.name) for field in fields(self)]


def policy_loss(
    logp: torch.Tensor,
    old_logp: torch.Tensor,
    advantages: torch.Tensor,
    tokens: float,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
    weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, StepStats]:
    """The clipped surrogate objective, negated (Schulman et al. 2017, equation 7).

    `dual_clip` bounds the objective from below by dual_clip * A where A < 0 (Ye et al. 2020, equation 5). `weights`
    [N] multiply each token's objective (truncated importance weights of the sampler).
    """
    log_ratio = logp - old_logp
    ratio = log_ratio.exp()
    clipped_ratio = ratio.clamp(1 - clip_low, 1 + clip_high)
    objective = torch.minimum(ratio * advantages, clipped_ratio * advantages)
    if dual_clip is not None:
        objective = torch.where(advantages < 0, torch.maximum(objective, dual_clip * advantages), objective)
    if weights is not None:
        objective = objective * weights
    loss = -objective.sum() / tokens
    with torch.no_grad():
        stats = StepStats(
            policy_tokens=float(logp.numel()),
            policy_loss=float(-objective.sum()),
            clipped=float((clipped_ratio * advantages < ratio * advantages).sum()),
            approx_kl=float((torch.expm1(log_ratio) - log_ratio).sum()),
            ratio=float(ratio.sum()),
        )
    return loss, stats


def value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, tokens: float, clip: float | None
) -> tuple[torch.Tensor, float, float]:
    """Half the squared error, with the value held within `clip` of the rollout's (Huang et al. 2024, section 3.5).

    The larger of the clipped and the unclipped error counts. Returns (loss, its sum over tokens, tokens clipped).
    """
    error = (values - returns).square()
    clipped = torch.zeros_like(error, dtype=torch.bool)
    if clip is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        near_error = (near - returns).square()
        clipped = near_error > error
        error = torch.maximum(error, near_error)
    total = 0.5 * error.sum()
    return total / tokens, float(total.detach()), float(clipped.sum())


def importance_weights(old_logp: torch.Tensor, sampler_logp: torch.Tensor, cap: float) -> torch.Tensor:
    """Truncated importance weights min(p_training / p_sampler, cap), any shape (Espeholt et al. 2018, section 4.1)."""
    return (old_logp - sampler_logp).exp().clamp(max=cap)
