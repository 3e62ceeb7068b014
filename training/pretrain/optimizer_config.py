"""The optimizer, the learning rate over the steps and the batch size over the steps."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config


class MuonConfig(Config):
    """Muon (Jordan et al. 2024; Liu et al. 2025, "Muon is scalable for LLM training")."""

    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the momentum."""
    nesterov: bool = True
    """Look one step ahead along the momentum."""
    newton_schulz_steps: int = Field(default=5, gt=0, le=20)
    """Iterations that make the momentum nearly orthogonal."""
    scale: Literal["spectral", "unit_rms", "shape"] = "spectral"
    """Size of an update of a matrix `[m, n]`: `spectral` 0.2 sqrt(max(m, n)), as large as AdamW's, so that
    learning rate and weight decay carry over (Liu et al. 2025, section 2.2); `unit_rms`
    sqrt(m / n); `shape` sqrt(max(1, m / n)) (Jordan et al. 2024)."""
    split_qkv: bool = True
    """Orthogonalise queries, keys and values each by themselves, though they are stored as one matrix."""


class OptimizerConfig(Config):
    """AdamW (Loshchilov & Hutter 2019) or Muon; weight decay acts on matrices only, not on norms and biases."""

    kind: Literal["adamw", "muon"] = "adamw"
    """`muon` moves the matrices inside the layers by Muon and embeddings, output layer, norms and biases by AdamW."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Highest learning rate, reached after the warm-up."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the second moment."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Adam's epsilon."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of matrices."""
    clip_grad: float = Field(default=1.0, ge=0)
    """Largest global gradient norm; 0 switches clipping off."""
    muon: MuonConfig = MuonConfig()
    """Used when `kind` is `muon`."""
    z_loss: float = Field(default=0.0, ge=0)
    """Weight of the mean square of log Z, the logarithm of the softmax's denominator, in the training loss (Chowdhery
    et al. 2022, section 5: 1e-4). The logged loss is without it."""


class ScheduleConfig(Config):
    """Learning rate over the steps."""

    kind: Literal["cosine", "wsd", "constant"] = "cosine"
    """After the linear warm-up: `cosine` to the minimum at the last step; `wsd` (warm-up, stable, decay): constant,
    then down to the minimum over the last `decay_fraction` of the steps; `constant`."""
    warmup_steps: int = Field(default=20, ge=0)
    """Steps of linear warm-up from 0."""
    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    """`wsd` only: the share of all steps in which the rate decays."""
    decay_shape: Literal["linear", "one_minus_sqrt"] = "linear"
    """`wsd` only: linear, or 1 - sqrt of the share done (Hagele et al. 2024, section 3, found better)."""
    minimum_ratio: float = Field(default=0.1, ge=0, le=1)
    """Last learning rate as a share of the highest."""


class BatchRampConfig(Config):
    """A batch that grows at the start of training (GPT-3, Brown et al. 2020, table 2.1 and section 2.3)."""

    start: int | None = Field(default=None, gt=0)
    """Sequences in the first step; unset: no ramp, every step takes `global_batch_size`."""
    increment: int | None = Field(default=None, gt=0)
    """Sequences added at a time; default: `start`."""
    sequences: int = Field(default=0, ge=0)
    """Sequences over which the batch grows to `global_batch_size`, each size seeing an equal share of them."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.start is None and (self.increment is not None or self.sequences):
            raise ValueError(
                "batch_ramp.increment and batch_ramp.sequences need batch_ramp.start; set it or unset them"
            )
        if self.start is not None and not self.sequences:
            raise ValueError("batch_ramp.start needs batch_ramp.sequences, over which the batch grows; set it")
        return self
