"""Direct preference optimisation (Rafailov et al. 2023) with an optional supervised term on the chosen answers.

    llmill dpo configs/posttrain/dpo_demo.yaml --out runs/dpo

The reference model's log-probabilities are computed once, before training, unless `precompute_reference` is off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from training.posttrain.config import PosttrainConfig


class DpoConfig(PosttrainConfig):
    """Preference optimisation of a checkpoint on pairs of answers; writes a `checkpoint`."""

    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference model (equation 7); tau for ipo."""
    loss: Literal["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm", "apo_zero"] = "sigmoid"
    """sigmoid is DPO; ipo Azar et al. 2023, hinge Zhao et al. 2023, robust Chowdhury et al. 2024, apo_zero
    D'Oosterlinck et al. 2024, sigmoid_norm DPO on log-probabilities per token."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """For `robust`: the probability that a preference is the wrong way round."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the cross-entropy on the chosen answers added to the loss. DPO alone lowers their probability too and
    can cost task accuracy; 0.2 prevents that (Pang et al. 2024)."""
    reference: str | None = None
    """Reference checkpoint; null for the starting model. Its tokenizer must be the same."""
    precompute_reference: bool = True
    """Compute the reference's log-probabilities once before training rather than at every step."""


def train_dpo(config: DpoConfig, out: str | Path) -> Path:
    """Optimise `config.model` on the pairs of `config.data` and write a `checkpoint` artifact at `out`.

    Raises UserError subclasses for unusable data, models and settings; see `Stage.run` about resuming.
    """
    from training.posttrain.stages.dpo import DpoStage

    return DpoStage(config).run(out)
