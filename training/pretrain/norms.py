"""Normalisation that works with sequence parallelism, which Megatron's own torch fallback refuses."""

from __future__ import annotations

from typing import Any

import torch

from training.pretrain.fused import RMSNorm


class TorchNorm:
    """Builds torch's RMSNorm (Zhang & Sennrich 2019) or LayerNorm, as the model's configuration says.

    Under sequence parallelism each rank normalises its own part of the sequence, so the weights' gradients are
    partial: `sequence_parallel` on a parameter makes Megatron's finalize_model_grads sum them over the ranks.
    """

    def __new__(cls, config: Any, hidden_size: int, eps: float = 1e-5, **_: Any) -> torch.nn.Module:  # type: ignore[misc]
        """A norm over the last dimension, of `hidden_size`."""
        kind = {"RMSNorm": RMSNorm, "LayerNorm": torch.nn.LayerNorm}[config.normalization]
        norm = kind(hidden_size, eps=eps, dtype=config.params_dtype)
        for parameter in norm.parameters():
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]
        return norm


class LatentNorm:
    """The norm on the low-rank vectors of latent attention: its epsilon is 1e-6 whatever the others' (DeepSeek-V3)."""

    def __new__(cls, config: Any, hidden_size: int, **_: Any) -> torch.nn.Module:  # type: ignore[misc]
        """A norm over the last dimension, of `hidden_size`."""
        return TorchNorm(config, hidden_size, eps=1e-6)  # type: ignore[return-value]
