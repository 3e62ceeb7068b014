"""Attention between queries, keys and values over torch's `scaled_dot_product_attention`.

It takes the place of Megatron's unfused DotProductAttention through the layer spec; on a GPU torch picks its flash
kernel. Shapes: S positions, B sequences, H query heads, G key/value heads (H a multiple of G), D head width; latent
attention has values of another width. Under context parallelism S is this rank's share of the positions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.tensor_parallel.mappings import gather_from_sequence_parallel_region
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right


class SDPACoreAttention(MegatronModule):  # type: ignore[misc]
    """Causal, masked or full attention with grouped queries, causal attention within packed sequences."""

    def __init__(
        self,
        config: Any,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        **_: Any,
    ) -> None:
        """The signature of Megatron's core attention modules."""
        super().__init__(config=config)
        self.scale = softmax_scale
        self.attn_mask_type = attn_mask_type
        self.dropout = config.attention_dropout if attention_dropout is None else attention_dropout
        split = config.context_parallel_size > 1
        self.context = parallel_state.get_context_parallel_group() if split else None

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        *,
        attn_mask_type: AttnMaskType | None = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: Any = None,
    ) -> Tensor:
        """Query `[S, B, H, D]`, key and value `[S, B, G, D]` to `[S, B, H * D]`.

        `attention_mask`, `[B, 1, S, all positions]`, is true where a query must NOT look (as in Megatron). Causal
        attention needs none: without a mask the kernel skips the upper half. With `packed_seq_params` the tensors
        are `[S, H, D]`, several sequences one after the other, and so is the result, `[S, H * D]`.
        """
        assert attention_bias is None, "attention bias is not supported"
        if packed_seq_params is not None:
            assert self.context is None, "packed sequences are not split over context-parallel ranks"
            return self._packed(query, key, value, packed_seq_params)
        kind = self.attn_mask_type if attn_mask_type is None else attn_mask_type
        causal = kind == AttnMaskType.causal
        if self.context is not None:
            key, value = (_natural_order(x, self.context) for x in (key, value))
            if causal:
                return self._two_pieces(query, key, value)
        if causal or attention_mask is None:
            return self._attend(query, key, value, None, causal=causal)
        return self._attend(query, key, value, ~attention_mask, causal=False)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, allowed: Any, causal: bool) -> Tensor:
        q, k, v = (x.permute(1, 2, 0, 3) for x in (query, key, value))  # [S, B, H, D] -> [B, H, S, D]
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=allowed,
            is_causal=causal,
            scale=self.scale,
            enable_gqa=q.size(1) != k.size(1),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return out.permute(2, 0, 1, 3).reshape(out.size(2), out.size(0), -1)

    def _two_pieces(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Causal attention of this rank's two pieces of the sequence, each to all keys before its own end."""
        assert self.context is not None
        ranks, rank = self.context.size(), self.context.rank()
        length = query.size(0) // 2
        outs = []
        for piece, place in ((query[:length], rank), (query[length:], 2 * ranks - 1 - rank)):
            seen = (place + 1) * length
            allowed = None if place == 0 else causal_lower_right(length, seen)
            outs.append(self._attend(piece, key[:seen], value[:seen], allowed, causal=place == 0))
        return torch.cat(outs)

    def _packed(self, query: Tensor, key: Tensor, value: Tensor, packed: Any) -> Tensor:
        """Each packed sequence by itself; `packed.cu_seqlens_q`, `[sequences + 1]`, holds their bounds."""
        if query.is_cuda and query.dtype != torch.float32:
            return self._packed_on_gpu(query, key, value, packed)
        bounds = packed.cu_seqlens_q.tolist()
        parts = [
            self._attend(query[a:b, None], key[a:b, None], value[a:b, None], None, causal=True)[:, 0]
            for a, b in pairwise(bounds)
        ]
        return torch.cat(parts)

    def _packed_on_gpu(self, query: Tensor, key: Tensor, value: Tensor, packed: Any) -> Tensor:
        """The same in one flash kernel for all sequences (torch >= 2.10)."""
        from torch.nn.attention.varlen import varlen_attn

        repeat = query.size(1) // key.size(1)
        if repeat > 1:
            key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
        bounds, longest = packed.cu_seqlens_q, packed.max_seqlen_q
        out: Any = varlen_attn(
            query, key, value, bounds, bounds, longest, longest, window_size=(-1, 0), scale=self.scale
        )
        return out.flatten(1)  # type: ignore[no-any-return]


def pieces_of_rank(tensor: Tensor, axis: int, ranks: int, rank: int) -> Tensor:
    """The two pieces of a context-parallel rank along `axis`: the `rank`-th from the start and from the end."""
    pieces = tensor.chunk(2 * ranks, axis)
    return torch.cat([pieces[rank], pieces[2 * ranks - 1 - rank]], axis)


def _natural_order(tensor: Tensor, group: Any) -> Tensor:
    """`[S, ...]` of each rank to `[all positions, ...]`; the gradient is summed back to the ranks."""
    ranks = group.size()
    gathered = gather_from_sequence_parallel_region(tensor.contiguous(), group=group)
    # It holds pieces 0, 2R-1 (of rank 0), 1, 2R-2 (of rank 1), ...
    pieces = gathered.chunk(2 * ranks)
    return torch.cat([*pieces[0::2], *reversed(pieces[1::2])])
