"""Rotary frequencies, plain and scaled for longer contexts, and their way into Megatron's modules.

theta_i = base^(-2i/d) is the angle that pair i of d rotated dimensions turns by at each position (Su et al. 2021).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from training.pretrain.models.config import ModelConfig, RopeScalingConfig


def inverse_frequencies(model: ModelConfig) -> Tensor:
    """Angle a position for each rotated pair, `[rotary_dim / 2]`.

    In float32, operation by operation as transformers does it: at position 100,000 the last bit is already a difference
    of 0.01 in the angle, and published models were trained with these very numbers.
    """
    scaling = model.rope_scaling
    plain = _plain(effective_theta(model), model.rotary_dim)
    if scaling is None or scaling.kind == "ntk":
        result = plain
    elif scaling.kind == "linear":
        result = plain / scaling.factor
    elif scaling.kind == "llama3":
        result = _llama3(plain, scaling)
    else:
        result = _yarn(plain, model.rope_theta, scaling)
    return result


def effective_theta(model: ModelConfig) -> float:
    """The base of the frequencies: `ntk` raises it so that the slowest pair is slowed by the factor."""
    scaling, dim = model.rope_scaling, model.rotary_dim
    if scaling is None or scaling.kind != "ntk":
        return model.rope_theta
    return float(model.rope_theta * scaling.factor ** (dim / (dim - 2)))


def _plain(theta: float, dim: int) -> Tensor:
    return 1.0 / (theta ** (torch.arange(0, dim, 2).float() / dim))


def _llama3(plain: Tensor, scaling: RopeScalingConfig) -> Tensor:
    """Llama 3.1: wavelengths up to L/high are kept, from L/low on divided, between them blended in L/wavelength."""
    assert scaling.original_length is not None
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    turns = scaling.original_length * plain / (2 * math.pi)
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return keep * plain + (1 - keep) * plain / scaling.factor


def _yarn(plain: Tensor, theta: float, scaling: RopeScalingConfig) -> Tensor:
    """YaRN (Peng et al. 2023, section 3.2), with the ramp over whole pairs that all implementations use."""
    assert scaling.original_length is not None
    dim, length = 2 * plain.numel(), scaling.original_length

    def pair_that_turns(times: float) -> float:
        return dim * math.log(length / (times * 2 * math.pi)) / (2 * math.log(theta))

    first = max(math.floor(pair_that_turns(scaling.beta_fast)), 0)
    last = min(math.ceil(pair_that_turns(scaling.beta_slow)), dim - 1)
    pairs = torch.arange(plain.numel(), dtype=torch.float32)
    divided = ((pairs - first) / max(last - first, 0.001)).clamp(0, 1)
    return (1 - divided) * plain + divided * plain / scaling.factor


def set_frequencies(part: Any, model: ModelConfig) -> None:
    """Give every rotary module inside `part` (a Megatron model) the frequencies of `model`.

    Megatron computes plain ones itself, and for Llama 3 only with a fixed original length.
    """
    from megatron.core.models.common.embeddings import RotaryEmbedding, YarnRotaryEmbedding

    if model.rope_scaling is None:
        return
    frequencies = inverse_frequencies(model)
    for module in part.modules():
        if isinstance(module, YarnRotaryEmbedding):
            # it blends two sets, kept and divided, at every call; ours are blended already
            module.inv_freq_extra = module.inv_freq_inter = frequencies.to(module.inv_freq_extra.device)
        elif isinstance(module, RotaryEmbedding):
            module.inv_freq = frequencies.to(module.inv_freq.device)


def attention_options(model: ModelConfig) -> dict[str, float]:
    """YaRN's scale of rotated queries and keys, as the attributes that Megatron's attention looks for."""
    scaling = model.rope_scaling
    if scaling is None or scaling.kind != "yarn" or model.mla:
        return {}
    return {
        "yarn_rotary_scaling_factor": scaling.factor,
        "yarn_mscale": 1.0 if scaling.mscale is None else scaling.mscale,
        "yarn_mscale_all_dim": 0.0 if scaling.mscale_all_dim is None else scaling.mscale_all_dim,
    }
