"""Direct preference optimisation (Rafailov et al. 2023) and its kin, with a supervised term on the chosen answers.

    llmill dpo configs/posttrain/dpo_demo.yaml --out runs/dpo

The reference model's log-probabilities are computed once, before training, unless `precompute_reference` is off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from training.posttrain.config import PosttrainConfig

WITHOUT_REFERENCE = ("orpo", "simpo")
"""Objectives of the policy alone."""
OURS = ("cdpo", *WITHOUT_REFERENCE)
"""Objectives of `objectives.py`; the others are TRL's."""


class DpoConfig(PosttrainConfig):
    """Preference optimisation of a checkpoint on pairs of answers; writes a `checkpoint`."""

    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference model (equation 7); tau of ipo, lambda of orpo, and the scale of
    simpo's rewards, for which 2 is usual."""
    loss: Literal[
        "sigmoid", "cdpo", "ipo", "hinge", "robust", "sigmoid_norm", "apo_zero", "apo_down", "nca_pair", "exo_pair",
        "bco_pair", "sppo_hard", "orpo", "simpo",
    ] = "sigmoid"  # fmt: skip
    """sigmoid is DPO; cdpo Mitchell 2023, ipo Azar et al. 2023, hinge Zhao et al. 2023, robust Chowdhury et al. 2024,
    apo_zero and apo_down D'Oosterlinck et al. 2024, nca_pair Chen et al. 2024, exo_pair Ji et al. 2024, bco_pair Jung
    et al. 2024, sppo_hard Wu et al. 2024, sigmoid_norm DPO on log-probabilities per token. orpo (Hong et al. 2024) and
    simpo (Meng et al. 2024) need no reference model."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """For `cdpo`, `robust` and `exo_pair`: the probability that a preference is the wrong way round."""
    simpo_gamma: float = Field(default=0.5, ge=0)
    """For `simpo`: the difference of rewards asked for; in the paper 0.3 to 1.6, with `beta` 2 to 2.5."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the cross-entropy on the chosen answers added to the loss. DPO alone lowers their probability too and
    can cost task accuracy; 0.2 prevents that (Pang et al. 2024)."""
    reference: str | None = None
    """Reference checkpoint; null for the starting model. Its tokenizer must be the same."""
    precompute_reference: bool = True
    """Compute the reference's log-probabilities once before training rather than at every step."""
    reference_cache: str | None = None
    """Folder in which those log-probabilities are kept for other runs, named by a digest of the reference's weights and
    the token rows. null keeps them for this run's own resumption only."""
    chosen_drop: float | None = Field(default=0.1, gt=0)
    """Alarm when validation (without one, training) finds the chosen answers' log-probability lower than the
    reference's by more than this share of it: 0.1 means that an answer of -20 nats has fallen to -22. null for no
    alarm."""
    on_chosen_drop: Literal["warn", "stop"] = "warn"
    """What the alarm does: a warning, a metric and a note in the manifest, or a stop with what to change."""

    @model_validator(mode="after")
    def _loss_settings_fit(self) -> DpoConfig:
        if self.label_smoothing and self.loss not in ("cdpo", "robust", "exo_pair"):
            raise ValueError(
                f"label_smoothing = {self.label_smoothing:g} has no meaning for loss = {self.loss!r}; "
                "take loss = 'cdpo', 'robust' or 'exo_pair', or leave it 0"
            )
        if self.loss == "exo_pair" and not self.label_smoothing:
            raise ValueError("loss = 'exo_pair' needs label_smoothing > 0, for example 1e-3 (Ji et al. 2024)")
        if self.without_reference and self.reference is not None:
            raise ValueError(f"loss = {self.loss!r} uses no reference model; leave reference unset")
        if self.loss == "orpo" and self.sft_weight:
            raise ValueError("loss = 'orpo' has the chosen answers' cross-entropy in it already; leave sft_weight 0")
        return self

    @property
    def without_reference(self) -> bool:
        """Whether the objective is of the policy alone."""
        return self.loss in WITHOUT_REFERENCE


def train_dpo(config: DpoConfig, out: str | Path) -> Path:
    """Optimise `config.model` on the pairs of `config.data` and write a `checkpoint` artifact at `out`.

    Raises UserError subclasses for unusable data, models and settings; see `Stage.run` about resuming.
    """
    from training.posttrain.stages.dpo import DpoStage

    return DpoStage(config).run(out)
