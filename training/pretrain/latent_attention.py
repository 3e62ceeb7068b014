"""Multi-head latent attention whose gradients are right under tensor parallelism without Transformer Engine.

Megatron-core 0.16.1 splits the down-projection of keys and values over tensor-parallel ranks and gathers its result.
The part of the result that all heads share, the rotated key, is then used by each rank for its own heads, and its
gradient is never summed over the ranks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from megatron.core.tensor_parallel.layers import ColumnParallelLinear
from megatron.core.tensor_parallel.mappings import (
    gather_from_tensor_model_parallel_region,
    scatter_to_sequence_parallel_region,
)
from megatron.core.transformer.multi_latent_attention import MLASelfAttention
from torch import Tensor


class TPSafeMLASelfAttention(MLASelfAttention):  # type: ignore[misc]
    """Megatron's latent attention with the gradient of the shared rotated key summed over tensor-parallel ranks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As Megatron's."""
        super().__init__(*args, **kwargs)
        self.linear_kv_down_proj.__class__ = _KeyValueDown


class _KeyValueDown(ColumnParallelLinear):  # type: ignore[misc]
    """The down-projection with its result already gathered: Megatron then takes its path for unsplit projections."""

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """Hidden `[S, B, H]` to `[S, B, kv rank + rotated width]` on every rank."""
        out, bias = super().forward(hidden, *args, **kwargs)
        if self.tp_group.size() > 1:
            out = gather_from_tensor_model_parallel_region(out, group=self.tp_group)
            if self.sequence_parallel:
                out = scatter_to_sequence_parallel_region(out, group=self.tp_group)
            else:
                latent, rotated = out.split([self.config.kv_lora_rank, self.config.qk_pos_emb_head_dim], -1)
                out = torch.cat([latent, _SumGradient.apply(rotated, self.tp_group)], -1)
        return out, bias


class _SumGradient(torch.autograd.Function):
    """The tensor itself; its gradient is summed over ranks."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        total = grad.contiguous()
        dist.all_reduce(total, group=ctx.group)
        return total, None
