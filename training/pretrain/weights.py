"""Weights by their global names: filling this rank's shards from whole tensors, whatever the layout.

Megatron's sharded state dict says of every local tensor which part of which whole tensor it is. The whole tensors,
named as in a checkpoint and with all layers stacked in front (`decoder.layers.*`, `[layers, ...]`), are the form in
which weights are initialised, loaded from Hugging Face and exported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, apply_factories

from millbase.seeds import derive_seed
from training.pretrain.config import ModelConfig

Whole = Callable[[str, int | None, tuple[int, ...]], torch.Tensor]
"""(name, layer or None, shape of one layer's whole tensor) -> that tensor."""

# The projections that write into the residual stream.
_RESIDUAL = ("self_attention.linear_proj.weight", "mlp.linear_fc2.weight")


def local_shards(model: Any) -> Iterator[ShardedTensor]:
    """This rank's tensors with their place in the whole ones; their `.data` are views of the parameters."""
    state = model.sharded_state_dict()
    # A gated feed-forward's weight is one parameter and two pieces of the whole: factories split it into views.
    apply_factories(state)
    for value in nested_values(state):
        if isinstance(value, ShardedTensor):
            yield value


@torch.no_grad()
def fill(model: Any, whole: Whole) -> None:
    """Set every weight of this rank from the whole tensors that `whole` gives."""
    for shard in local_shards(model):
        lead = shard.prepend_axis_num
        layer = shard.global_offset[0] if lead else None
        shape = tuple(shard.global_shape[lead:])
        part = whole(shard.key, layer, shape)
        assert part.shape == shape, f"{shard.key}: {tuple(part.shape)} given, {shape} expected"
        for axis, (start, size) in enumerate(zip(shard.global_offset[lead:], shard.local_shape, strict=True)):
            part = part.narrow(axis, start, size)
        shard.data.copy_(part.view_as(shard.data))


def initial_weights(config: ModelConfig, seed: int) -> Whole:
    """Initial values as a function of (seed, name, layer): norms 1, the rest normal with `init_std`.

    Projections into the residual stream are scaled by 1 / sqrt(2 * layers) (GPT-2, Radford et al. 2019, section 2.3).
    """

    def draw(name: str, layer: int | None, shape: tuple[int, ...]) -> torch.Tensor:
        if len(shape) == 1:
            return torch.ones(shape)
        std = config.init_std / math.sqrt(2 * config.layers) if name.endswith(_RESIDUAL) else config.init_std
        generator = torch.Generator().manual_seed(derive_seed(seed, "init", name, -1 if layer is None else layer))
        return torch.empty(shape).normal_(0.0, std, generator=generator)

    return draw


def stacked(tensors: dict[str, torch.Tensor]) -> Whole:
    """Take the values from whole tensors in checkpoint form (layers stacked in front)."""

    def take(name: str, layer: int | None, shape: tuple[int, ...]) -> torch.Tensor:
        return tensors[name] if layer is None else tensors[name][layer]

    return take
