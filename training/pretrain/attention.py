"""Attention between queries, keys and values over torch's `scaled_dot_product_attention`.

It takes the place of Megatron's unfused DotProductAttention through the layer spec; on a GPU torch picks its flash
kernel. Shapes: S positions, B sequences, H query heads, G key/value heads (H a multiple of G), D head width.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from torch import Tensor


class SDPACoreAttention(MegatronModule):  # type: ignore[misc]
    """Causal or masked attention with grouped queries, and causal attention within packed sequences."""

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
        assert config.context_parallel_size == 1, "context parallelism is not built into this attention"
        self.scale = softmax_scale
        self.attn_mask_type = attn_mask_type
        self.dropout = config.attention_dropout if attention_dropout is None else attention_dropout

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

        `attention_mask`, `[B, 1, S, S]`, is true where a query must NOT look (Megatron's convention). Causal attention
        needs none: without a mask the kernel skips the upper half. With `packed_seq_params` the tensors are
        `[S, H, D]`, several sequences one after the other, and so is the result, `[S, H * D]`.
        """
        assert attention_bias is None, "attention bias is not supported"
        if packed_seq_params is not None:
            return self._packed(query, key, value, packed_seq_params)
        kind = self.attn_mask_type if attn_mask_type is None else attn_mask_type
        if kind == AttnMaskType.causal or attention_mask is None:
            return self._attend(query, key, value, None, causal=kind == AttnMaskType.causal)
        return self._attend(query, key, value, ~attention_mask, causal=False)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, causal: bool) -> Tensor:
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

    def _packed(self, query: Tensor, key: Tensor, value: Tensor, packed: Any) -> Tensor:
        """Each packed sequence by itself; `packed.cu_seqlens_q`, `[sequences + 1]`, holds their bounds."""
        bounds = packed.cu_seqlens_q.tolist()
        parts = [
            self._attend(query[a:b, None], key[a:b, None], value[a:b, None], None, causal=True)[:, 0]
            for a, b in pairwise(bounds)
        ]
        return torch.cat(parts)
