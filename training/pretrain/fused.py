"""Feed-forward gate, RMSNorm and rotary positions in few passes over memory.

On a CPU the elementwise parts of a layer cost as much as memory allows: each torch operation reads and writes its whole
tensor. Here each of them works on a block of rows that stays in a core's cache, saves only its input for the backward
pass, and writes each result once. On a GPU Megatron's and torch's own kernels do the same (`runtime.py`). Legend: N
rows (tokens), F feed-forward width, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK_ELEMENTS = 1 << 17


def _blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows that fill about a block."""
    size = max(1, _BLOCK_ELEMENTS // width)
    for start in range(0, rows, size):
        yield slice(start, start + size)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        flat = both.reshape(-1, both.size(-1))
        gate, up = flat.chunk(2, -1)
        out = torch.empty_like(gate, memory_format=torch.contiguous_format)
        for rows in _blocks(*flat.shape):
            torch.mul(F.silu(gate[rows]), up[rows], out=out[rows])
        return out.view(*both.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (both,) = ctx.saved_tensors
        flat = both.reshape(-1, both.size(-1))
        gate, up = flat.chunk(2, -1)
        result = torch.empty_like(flat)
        of_gate, of_up = result.chunk(2, -1)
        grad = grad.reshape(-1, grad.size(-1))
        for rows in _blocks(*flat.shape):
            torch.mul(grad[rows], F.silu(gate[rows]), out=of_up[rows])
            torch.ops.aten.silu_backward.grad_input(grad[rows] * up[rows], gate[rows], grad_input=of_gate[rows])
        return result.view_as(both)


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) * up of `[..., 2 F]`, the gate first (Shazeer 2020)."""
    return _SwiGLU.apply(both)  # type: ignore[no-any-return, no-untyped-call]


def bias_swiglu(both: Tensor, bias: Tensor | None, *_: Any) -> Tensor:
    """Megatron's `bias_swiglu_impl`."""
    return swiglu(both if bias is None else both + bias)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        flat = x.reshape(-1, x.size(-1))
        out = torch.empty_like(flat)
        scale = torch.empty(flat.size(0), 1, dtype=flat.dtype)  # 1 / root mean square
        for rows in _blocks(*flat.shape):
            part, of_rows = flat[rows], scale[rows]
            torch.linalg.vector_norm(part, dim=-1, keepdim=True, out=of_rows)
            of_rows.square_().div_(flat.size(1)).add_(epsilon).rsqrt_()
            torch.mul(part, of_rows, out=out[rows]).mul_(weight)
        ctx.save_for_backward(x, weight, scale)
        return out.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        x, weight, scale = ctx.saved_tensors
        flat, grad = x.reshape(-1, x.size(-1)), grad.reshape(-1, x.size(-1))
        result = torch.empty_like(flat)
        of_weight = torch.zeros_like(weight)
        for rows in _blocks(*flat.shape):
            normed = flat[rows] * scale[rows]
            both = grad[rows] * normed
            of_weight += both.sum(0)
            # dx = (g - n mean(g n)) / rms with g = grad * weight and n = x / rms
            mean = torch.mv(both, weight).div_(flat.size(1))[:, None]
            out = torch.mul(grad[rows], weight, out=result[rows])
            out.addcmul_(normed, mean, value=-1).mul_(scale[rows])
        return result.view_as(x), of_weight, None


class RMSNorm(torch.nn.RMSNorm):
    """torch's RMSNorm (Zhang & Sennrich 2019) over the last dimension, in fewer passes on a CPU in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D]` to the same shape."""
        if x.is_cuda or x.dtype != torch.float32:
            return super().forward(x)
        return _RMSNorm.apply(x, self.weight, self.eps)  # type: ignore[no-any-return, no-untyped-call]


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, sin, -1), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    (first, last), (out_first, out_last) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(first, cos, out=out_first).addcmul_(last, sin, value=-sign)
    torch.mul(last, cos, out=out_last).addcmul_(first, sin, value=sign)
    return out


def rotary(original: Any) -> Any:
    """Megatron's `_apply_rotary_pos_emb_bshd`, with the usual case done here: all of the head rotated, by halves."""

    def rotate(
        t: Tensor,
        freqs: Tensor,
        rotary_interleaved: bool = False,
        multi_latent_attention: bool = False,
        mscale: float = 1.0,
    ) -> Tensor:
        usual = freqs.size(-1) == t.size(-1) and not rotary_interleaved and not multi_latent_attention
        if not usual or t.dtype != torch.float32:
            return original(t, freqs, rotary_interleaved, multi_latent_attention, mscale)  # type: ignore[no-any-return]
        angles = freqs[..., : freqs.size(-1) // 2]  # both halves turn alike
        cos, sin = angles.cos() * mscale, angles.sin() * mscale
        return _Rotate.apply(t, cos, sin)  # type: ignore[no-any-return, no-untyped-call]

    return rotate
