"""KL divergence to the reference policy: per-token estimators and the controllers that set the penalty's weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.posttrain.ppo.config import KlConfig

PROPORTIONAL_CLIP = 0.2
"""Clip of the relative error in the proportional controller (Ziegler et al. 2019, section 2.2)."""
THRESHOLD_BAND = 1.5
"""Half-width factor of the band in which the threshold controller rests (Schulman et al. 2017, section 4)."""


def kl_estimate(logp: torch.Tensor, reference_logp: torch.Tensor, estimator: str) -> torch.Tensor:
    """Estimate of KL(policy || reference) per token, from one sample of the policy; any shape, in nats.

    With r = log p_ref - log p (Schulman 2020, "Approximating KL Divergence"): k1 = -r is unbiased and may be negative;
    k2 = r^2 / 2 is biased with low variance; k3 = exp(r) - 1 - r is unbiased and never negative.
    """
    r = reference_logp - logp
    if estimator == "k1":
        return -r
    if estimator == "k2":
        return r.square() / 2
    if estimator == "k3":
        return torch.expm1(r) - r
    raise ValueError(f"unknown KL estimator {estimator!r}; expected k1, k2 or k3")


@dataclass
class KlController:
    """The weight of the KL penalty; with a target it moves after every rollout."""

    config: KlConfig
    coef: float

    @classmethod
    def from_config(cls, config: KlConfig) -> KlController:
        """A controller at the configured starting weight."""
        return cls(config, config.coef)

    def update(self, measured: float) -> None:
        """Move the weight after a rollout whose completions had `measured` nats of KL on average."""
        target = self.config.target
        if target is None:
            return
        if self.config.controller == "proportional":
            error = min(max(measured / target - 1, -PROPORTIONAL_CLIP), PROPORTIONAL_CLIP)
            self._scale(1 + self.config.gain * error)
        elif measured > target * THRESHOLD_BAND:
            self._scale(2.0)
        elif measured < target / THRESHOLD_BAND:
            self._scale(0.5)

    def tighten(self) -> None:
        """Double the weight, after a policy went over the hard bound."""
        self._scale(2.0)

    def _scale(self, factor: float) -> None:
        low, high = self.config.coef_range
        self.coef = min(max(self.coef * factor, low), high)
