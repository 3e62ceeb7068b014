"""Preference objectives that TRL's DPOTrainer does not have, as functions of sequence log-probabilities.

All take and return tensors of shape `[B]`, one value a pair; logs are natural. `chosen` and `rejected` are the answers'
summed log-probabilities under the policy, `*_length` their numbers of tokens, `margin` the difference of log-ratios to
the reference, `(log pi(chosen) - log ref(chosen)) - (log pi(rejected) - log ref(rejected))`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kto(log_ratio: Tensor, desirable: Tensor, kl: Tensor, beta: float, weights: tuple[float, float]) -> Tensor:
    """KTO: an answer's value is the sigmoid of how far its log-ratio to the reference lies from `kl`.

    `log_ratio` `[B]`, `desirable` `[B]` bool, `kl` a number >= 0 without gradient; `weights` of desirable and
    undesirable answers (lambda_D, lambda_U). Ethayarajh et al. 2024, equations 7 and 8, with the constant lambda_y - v.
    With `kl` 0 it is APO-zero on single answers (D'Oosterlinck et al. 2024, equation 7).
    """
    sign = torch.where(desirable, 1.0, -1.0)
    weight = torch.where(desirable, weights[0], weights[1]).to(log_ratio.dtype)
    return weight * (1 - torch.sigmoid(beta * sign * (log_ratio - kl)))


def cdpo(margin: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """Conservative DPO: a preference is the wrong way round with probability `label_smoothing`.

    Mitchell 2023, "A note on DPO with noisy preferences and relationship to IPO", equation 3.
    """
    return -(1 - label_smoothing) * F.logsigmoid(beta * margin) - label_smoothing * F.logsigmoid(-beta * margin)


def simpo(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    """SimPO: rewards are mean log-probabilities a token, asked to differ by `gamma` (Meng et al. 2024, equation 6)."""
    return -F.logsigmoid(beta * (chosen / chosen_length - rejected / rejected_length) - gamma)


def orpo(chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, weight: float) -> Tensor:
    """ORPO: cross-entropy of the chosen answer a token, and `weight` times the log odds ratio's loss.

    Hong et al. 2024, equations 2 to 6 (their lambda is `weight`); both terms are means over an answer's tokens.
    """
    chosen_mean, rejected_mean = chosen / chosen_length, rejected / rejected_length
    log_odds = (chosen_mean - rejected_mean) - (log1mexp(chosen_mean) - log1mexp(rejected_mean))
    return -chosen_mean - weight * F.logsigmoid(log_odds)


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0 without cancellation (Maechler 2012, "Accurately computing log(1 - exp(-|a|))").

    Values above -1e-7, where exp(x) rounds to 1 in float32, count as -1e-7: the odds of a certain answer stay finite.
    """
    x = x.clamp(max=-1e-7)
    # Both branches are computed; each gets a harmless argument where the other one is taken, so no gradient is NaN.
    near = x > -0.6931471805599453
    small = torch.log(-torch.expm1(torch.where(near, x, torch.full_like(x, -1.0))))
    large = torch.log1p(-torch.exp(torch.where(near, torch.full_like(x, -1.0), x)))
    return torch.where(near, small, large)
