"""ZeRO-2 and ZeRO-3: weights, gradients and the optimizer's state spread over replicas, by torch's `fully_shard`.

Megatron-FSDP 0.16 needs GPUs and writes checkpoints that no other layout can read; torch's FSDP2 (Zhao et al. 2023)
runs over gloo and NCCL alike. Each transformer layer is gathered by itself before it computes. With ZeRO-3 it is let go
right after and gathered once more for the backward pass; with ZeRO-2 it stays until the backward pass of the step's
last micro-batch. Gradients leave each backward pass summed over the replicas, each rank keeping its rows.

No rank ever has the whole model: it is built without values (`without_values`), each rank makes room for its rows, and
fills them from one whole tensor after the other.

Checkpoints have the tensors and names of the other layouts: `Piece` says which rows of a parameter lie where in a whole
tensor, and a rank saves and reads the rows that it holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from megatron.core.distributed.data_parallel_base import _BaseDataParallel
from megatron.core.distributed.finalize_model_grads import _update_router_expert_bias, reset_model_temporary_tensors
from megatron.core.transformer.transformer_layer import TransformerLayer
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from training.pretrain.config import PretrainConfig
from training.pretrain.weights import Whole, local_shards, part_of


@contextmanager
def without_values() -> Iterator[None]:
    """Parameters that modules register inside have shapes and marks but no memory; buffers are real.

    Constructors make each one for a moment, so the peak is the largest parameter.
    """
    register = torch.nn.Module.register_parameter

    def forgetful(module: torch.nn.Module, name: str, param: torch.nn.Parameter | None) -> None:
        register(module, name, param)
        if param is not None and not param.is_meta:
            empty = torch.nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)
            vars(empty).update(vars(param))
            module._parameters[name] = empty

    torch.nn.Module.register_parameter = forgetful  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register  # type: ignore[assignment]


@dataclass(frozen=True)
class Piece:
    """Rows of a parameter (as one replica has it) in a whole tensor of a checkpoint."""

    whole: ShardedTensor
    """Name, shape and the rows' place; without data."""
    start: int
    """The first of the parameter's rows."""

    def among(self, held: torch.Tensor, first: int) -> tuple[int, int]:
        """First and last (past the end) of the rows that are among `held`, which begin with row `first`."""
        return max(self.start, first), min(self.start + self.whole.local_shape[0], first + held.size(0))

    def part(self, held: torch.Tensor, first: int, prefix: str = "") -> ShardedTensor | None:
        """Those of the rows that are among `held`, which begin with row `first`; None when there are none."""
        whole = self.whole
        low, high = self.among(held, first)
        if low >= high:
            return None
        lead = whole.prepend_axis_num
        offset = list(whole.global_offset)
        offset[lead] += low - self.start
        # Where rows need not divide evenly, Megatron forgets axes that are not in the data.
        data = held[low - first : high - first][(None,) * lead]
        return replace(
            whole,
            key=prefix + whole.key,
            data=data,
            dtype=data.dtype,
            local_shape=tuple(data.shape),
            global_offset=tuple(offset),
            axis_fragmentations=None,  # rows need not divide evenly
            prepend_axis_num=0,
            # Of the three numbers, the last counts replicas; these rows have none.
            replica_id=(*whole.replica_id[:-1], 0),  # type: ignore[misc]
        )


@dataclass(frozen=True)
class Held:
    """A parameter of which this rank holds some rows."""

    name: str
    param: Any
    """A DTensor; its gradient, when there is one, too."""
    pieces: tuple[Piece, ...]
    first: int
    """The first row held."""

    @property
    def rows(self) -> torch.Tensor:
        """The rows held, which may be none."""
        local: torch.Tensor = self.param._local_tensor
        return local.detach()

    @property
    def gradient(self) -> torch.Tensor | None:
        """Of the rows held."""
        return None if self.param.grad is None else self.param.grad._local_tensor

    def parts(self, rows: torch.Tensor, prefix: str = "") -> list[ShardedTensor]:
        """`rows` (values of the rows held) for a checkpoint."""
        found = (piece.part(rows, self.first, prefix) for piece in self.pieces)
        return [part for part in found if part is not None]


class FullySharded(_BaseDataParallel):  # type: ignore[misc]
    """A model spread over the replicas of its data- and context-parallel group; stands where Megatron's DDP does."""

    def __init__(self, config: PretrainConfig, module: Any, weights: Whole) -> None:
        """`module`: its parameters float32 and without values; the rows held get those of `weights`."""
        super().__init__(config=module.config, module=module)
        self.keeps_weights = config.parallel.zero == 2
        self.group = parallel_state.get_data_parallel_group(with_context_parallel=True)
        pieces, self.buffers_saved = _pieces(module)
        marks = {name: dict(vars(param)) for name, param in module.named_parameters()}
        _shard(config, module, self.group)
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        module._apply(lambda one: torch.empty_like(one, device=device) if one.is_meta else one)
        for name, param in module.named_parameters():
            # Megatron's marks (tensor_model_parallel, sequence_parallel), which the parameters lose.
            for mark, value in marks[name].items():
                setattr(param, mark, value)
        self.held = [self._held(name, param, pieces[name]) for name, param in module.named_parameters()]
        self._fill(weights)

    def _held(self, name: str, param: Any, pieces: list[Piece]) -> Held:
        # torch.chunk's rule: equal pieces, rounded up, and less or nothing for the last ranks.
        share = -(-param.size(0) // self.group.size())
        first = min(self.group.rank() * share, param.size(0))
        held = Held(name, param, tuple(pieces), first)
        assert held.rows.size(0) == min(share, param.size(0) - first), f"{name}: other rows than expected"
        return held

    @torch.no_grad()
    def _fill(self, weights: Whole) -> None:
        for held in self.held:
            rows = held.rows
            for piece in held.pieces:
                low, high = piece.among(rows, held.first)
                if low < high:
                    target = rows[low - held.first : high - held.first]
                    # Without a name, for that would keep one whole tensor while the next is made.
                    target.copy_(part_of(piece.whole, weights)[low - piece.start : high - piece.start].view_as(target))
        for buffer, shard in self.buffers_saved:
            buffer.copy_(part_of(shard, weights).view_as(buffer))

    def train(self, mode: bool = True) -> FullySharded:
        """Between passes with and without gradients, weights that are still gathered are let go."""
        super().train(mode)
        self.let_go()
        return self

    def let_go(self) -> None:
        """Free gathered weights: after a pass without gradients, and before the rows held are set from outside."""
        for module in self.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """For all micro-batches of a step but the last; with ZeRO-2, the weights stay gathered."""
        self.module.set_reshard_after_backward(not self.keeps_weights)
        try:
            yield
        finally:
            self.module.set_reshard_after_backward(True)

    def scale_gradients(self, scaling_factor: Any) -> None:
        """All gradients times the factor."""
        gradients = [held.gradient for held in self.held if held.gradient is not None]
        torch._foreach_mul_(gradients, scaling_factor)


def _shard(config: PretrainConfig, module: Any, group: Any) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, config.dtype)
    options: dict[str, Any] = {
        "mesh": DeviceMesh.from_group(group, device),
        "reshard_after_forward": config.parallel.zero == 3,
        # Rows are kept, and gradients summed, in float32. Inputs stay as they are: rotations are float32 by design.
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=None if dtype == torch.float32 else dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
        ),
    }
    for layer in [part for part in module.modules() if isinstance(part, TransformerLayer)]:
        fully_shard(layer, **options)
    # The rest stays gathered for a whole pass: a tied embedding is needed at its beginning and at its end.
    fully_shard(module, **options | {"reshard_after_forward": False})
    for part in module.modules():
        if isinstance(part, FSDPModule):
            # Sums over tokens, which `finalize` divides by their number.
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)


def _pieces(module: Any) -> tuple[dict[str, list[Piece]], list[tuple[Any, ShardedTensor]]]:
    """By parameter, where its rows lie; and the buffers that are saved, which are whole on every rank."""
    # Without values there are no addresses; views have the storage in common.
    params = {param.untyped_storage()._cdata: (name, param) for name, param in module.named_parameters()}
    buffers = {buffer.untyped_storage()._cdata: buffer for buffer in module.buffers()}
    found: dict[str, list[Piece]] = defaultdict(list)
    kept = []
    for shard in local_shards(module):
        data = shard.data
        assert data is not None, f"{shard.key}: no data"
        storage = data.untyped_storage()._cdata
        if storage in buffers:
            kept.append((buffers[storage], shard.without_data()))
            continue
        name, param = params[storage]
        width = param[0].numel()
        assert data.is_contiguous() and data.shape[1:] == param.shape[1:], f"{shard.key} is no rows of {name}"
        found[name].append(Piece(shard.without_data(), data.storage_offset() // width))
    return found, kept


def finalize(replicas: list[Any], num_tokens: torch.Tensor | None = None, **_: Any) -> None:
    """What Megatron's `finalize_model_grads` does, for gradients that are summed over the replicas already.

    `num_tokens`: of this rank's micro-batches; the gradients are divided by their number over all replicas.
    """
    megatron, group = replicas[0].config, parallel_state.get_tensor_model_parallel_group()
    for replica in replicas:
        shared = [held.gradient for held in replica.held if _partial(megatron, held) and held.gradient is not None]
        if shared and group.size() > 1:
            whole = torch.cat([gradient.flatten() for gradient in shared])
            dist.all_reduce(whole, group=group)
            for gradient, summed in zip(shared, whole.split([one.numel() for one in shared]), strict=True):
                gradient.copy_(summed.view_as(gradient))
    if megatron.moe_router_enable_expert_bias:
        _update_router_expert_bias(replicas, megatron)
    reset_model_temporary_tensors(megatron, replicas)
    if num_tokens is not None:
        dist.all_reduce(num_tokens, group=parallel_state.get_data_parallel_group(with_context_parallel=True))
        for replica in replicas:
            replica.scale_gradients(1.0 / num_tokens.clamp(min=1))


def _partial(megatron: Any, held: Held) -> bool:
    """True for weights that every tensor-parallel rank has and sees a part of the tokens or heads with."""
    sequence = megatron.sequence_parallel and getattr(held.param, "sequence_parallel", False)
    return sequence or (megatron.qk_layernorm and ("q_layernorm" in held.name or "k_layernorm" in held.name))
