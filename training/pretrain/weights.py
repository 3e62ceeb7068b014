"""Weights by their global names: filling this rank's shards from whole tensors, whatever the layout.

Megatron's sharded state dict says of every local tensor which part of which whole tensor it is. A whole tensor is named
as in a checkpoint but without numbers (`decoder.layers.mlp.linear_fc2.weight`), and numbered by an index: (layer,), or
(layer, expert). In that form weights are initialised, loaded from Hugging Face and exported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, apply_factories

from millbase.seeds import derive_seed
from training.pretrain.models.config import ModelConfig

if TYPE_CHECKING:
    from training.pretrain.config import PretrainConfig

Whole = Callable[[str, tuple[int, ...], tuple[int, ...]], torch.Tensor]
"""(name without numbers, index, shape of the whole tensor) -> that tensor."""

# The projections that write into the residual stream.
_RESIDUAL = ("self_attention.linear_proj.weight", "linear_fc2.weight")
_NUMBERED = re.compile(r"^(decoder|mtp)\.layers\.(\d+)\.")


def place(key: str, stacked: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """A checkpoint's key and a tensor's place in its stacked dimensions as (name without numbers, index).

    Equal layers are stacked under one key; layers that differ have their number in it:
    `decoder.layers.3.mlp.experts.experts.linear_fc1.weight` and (5,) are layer 3, expert 5.
    """
    numbered = _NUMBERED.match(key)
    if numbered is None:
        return key, stacked
    return f"{numbered[1]}.layers.{key[numbered.end() :]}", (int(numbered[2]), *stacked)


def local_shards(model: Any) -> Iterator[ShardedTensor]:
    """This rank's tensors with their place in the whole ones; their `.data` are views of the parameters."""
    from megatron.core import parallel_state

    state = model.sharded_state_dict(
        metadata={"dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True)}
    )
    # A gated feed-forward's weight is one parameter and two pieces of the whole: factories split it into views.
    apply_factories(state)
    for value in nested_values(state):
        if isinstance(value, ShardedTensor):
            yield value


@torch.no_grad()
def fill(model: Any, whole: Whole) -> None:
    """Set every weight of this rank from the whole tensors that `whole` gives."""
    for shard in local_shards(model):
        shard.data.copy_(part_of(shard, whole).view_as(shard.data))


def part_of(shard: ShardedTensor, whole: Whole) -> torch.Tensor:
    """What `shard` holds of its whole tensor: a view, unnumbered axes only."""
    lead = shard.prepend_axis_num
    name, index = place(shard.key, tuple(shard.global_offset[:lead]))
    shape = tuple(shard.global_shape[lead:])
    part = whole(name, index, shape)
    assert part.shape == shape, f"{name} {index}: {tuple(part.shape)} given, {shape} expected"
    for axis, (start, size) in enumerate(zip(shard.global_offset[lead:], shard.local_shape, strict=True)):
        part = part.narrow(axis, start, size)
    return part


def initial_weights(config: ModelConfig, seed: int) -> Whole:
    """Initial values as a function of (seed, name, index): norms 1, biases 0, the rest normal with `init_std`.

    Projections into the residual stream are scaled by 1 / sqrt(2 * layers) (GPT-2, Radford et al. 2019, section 2.3).
    """

    def draw(name: str, index: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
        if len(shape) == 1:
            return torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
        std = config.init_std / math.sqrt(2 * config.layers) if name.endswith(_RESIDUAL) else config.init_std
        generator = torch.Generator().manual_seed(derive_seed(seed, "init", name, *(index or (-1,))))
        return torch.empty(shape).normal_(0.0, std, generator=generator)

    return draw


def starting_weights(config: PretrainConfig, vocab_size: int) -> Whole:
    """What a run starts from: `checkpoint.weights_from`, or initial values.

    Raises:
        ArtifactError, InputError: no model there, or another one than configured.
    """
    if config.checkpoint.weights_from is None:
        return initial_weights(config.model, config.seed)
    from training.pretrain.models.source import check_same_model, find_model

    source = find_model(config.checkpoint.weights_from, verify=False)
    check_same_model(source, config.model, vocab_size)
    given, fresh = source.weights(), initial_weights(config.model, config.seed)

    def take(name: str, index: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
        # layers of multi-token prediction may be new
        new = name.startswith("mtp.") and (source.model.mtp is None or index[0] >= source.model.mtp.depth)
        if new:
            return fresh(name, index, shape)
        return _resized(given(name, index, shape), shape)

    return take


def _resized(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """With as many vocabulary rows as wanted: checkpoints differ in their padding, which is never used."""
    if tensor.size(0) > shape[0]:
        return tensor[: shape[0]]
    missing = shape[0] - tensor.size(0)
    return torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])]) if missing else tensor


def saved_weights(checkpoint: Path) -> Whole:
    """Values from a distributed checkpoint written under any layout, read tensor by tensor.

    Raises:
        ArtifactError: not a checkpoint, or its index holds more than tensors.
    """
    from training.pretrain.models.shards import CheckpointTensors

    tensors = CheckpointTensors(checkpoint)
    return lambda name, index, shape: tensors.read(name, index)


def hf_weights(folder: Path, config: ModelConfig) -> Whole:
    """Values from the safetensors files of a Hugging Face folder, read tensor by tensor; new vocabulary rows are zero.

    What the files do not have (layers of multi-token prediction, mostly) starts as `initial_weights` of seed 0 does.

    Raises:
        InputError: the folder has no safetensors weights, or not those of this model.
    """
    from training.pretrain.models.hf import pieces
    from training.pretrain.models.hf.files import HFWeights

    files = HFWeights(folder)
    known = {(piece.name, piece.index): piece for piece in pieces(config)}
    fresh = initial_weights(config, 0)

    def take(name: str, index: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
        piece = known.get((name, index))
        if piece is None or (name.startswith("mtp.") and piece.targets[0] not in files):
            return fresh(name, index, shape)
        tensor = piece.merge([files.tensor(target) for target in piece.targets])
        return _resized(tensor, shape) if piece.vocabulary else tensor

    return take
