"""Cross entropy over a vocabulary split over tensor-parallel ranks, without a second copy of the logits.

Megatron's own keeps the logits, a float32 copy and the softmax; hiding the padding of the vocabulary copies them once
more. Here the logits' memory is overwritten by their exponentials in the forward pass and by the gradient in the
backward pass, in blocks of rows that stay in a processor's cache. Legend: N tokens, V this rank's rows of the
vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_BLOCK_BYTES_CPU = 1 << 20
_BLOCK_BYTES_GPU = 1 << 28


class VocabularyLoss:
    """Negative log-likelihood of labels; called as Megatron's `compute_language_model_loss(labels, logits)`."""

    def __init__(self, vocab_size: int, first: int, group: Any, z_loss: float = 0.0) -> None:
        """`vocab_size`: rows that are tokens, the others are padding and get probability 0; `first`: this rank's first
        row; `group`: the tensor-parallel ranks; `z_loss`: see OptimizerConfig."""
        self.vocab_size, self.first, self.group, self.z_loss = vocab_size, first, group, z_loss

    def __call__(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Labels `[B, S]` and logits `[S, B, V]`, which are overwritten, to losses `[B, S]` in nats, float32.

        With `z_loss` w the gradient is that of nll + w (log Z)^2 (Chowdhery et al. 2022, section 5), the value is nll.
        """
        real = min(max(self.vocab_size - self.first, 0), logits.size(-1))
        targets = labels.t().reshape(-1)
        losses = _CrossEntropy.apply(logits, targets, self.first, real, self.z_loss, self.group)
        return losses.view(logits.size(0), logits.size(1)).t()  # type: ignore[no-any-return, no-untyped-call]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, first: int, real: int, z_weight: float, group: Any
    ) -> Tensor:
        flat = logits.detach().view(-1, logits.size(-1))  # [N, V], the logits' own memory
        split = group is not None and group.size() > 1
        top = torch.full((flat.size(0),), float("-inf"), dtype=torch.float32, device=flat.device)
        if split:
            for rows in _blocks(flat):
                if real:
                    top[rows] = flat[rows, :real].amax(-1).float()
            dist.all_reduce(top, op=dist.ReduceOp.MAX, group=group)
        local = targets - first
        inside = (local >= 0) & (local < real)
        local = local.clamp(0, max(real - 1, 0))
        sums = torch.zeros(2, flat.size(0), dtype=torch.float32, device=flat.device)  # of exponentials; label's logit
        for rows in _blocks(flat) if real else ():
            part = flat[rows, :real]
            if flat.is_cuda:
                found = _compiled(_exponentials)(part, local[rows], top[rows] if split else None)
                exponentials, sums[0, rows], sums[1, rows], top[rows] = found
                part.copy_(exponentials)
                continue
            work = part.float()  # the same memory when the logits are float32
            if not split:
                torch.amax(work, -1, out=top[rows])
            work.sub_(top[rows, None])
            sums[1, rows] = work.gather(1, local[rows, None])[:, 0]
            work.exp_()
            torch.sum(work, -1, out=sums[0, rows])
            if work.dtype != part.dtype:
                part.copy_(work)
        sums[1].mul_(inside)
        if split:
            dist.all_reduce(sums, group=group)
        log_sum = sums[0].log()
        ctx.exponentials, ctx.real, ctx.z_weight = flat, real, z_weight
        ctx.shape = logits.shape
        ctx.save_for_backward(local, inside, sums[0], log_sum + top)
        return log_sum - sums[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        local, inside, total, log_z = ctx.saved_tensors
        flat, real = ctx.exponentials, ctx.real
        of_softmax = grad * (1 + 2 * ctx.z_weight * log_z) if ctx.z_weight else grad
        scale = (of_softmax / total).to(flat.dtype)
        at_label = -(grad * inside).to(flat.dtype)
        for rows in _blocks(flat) if real else ():
            part = flat[rows, :real]
            if flat.is_cuda:
                part.copy_(_compiled(_gradient)(part, scale[rows], local[rows], at_label[rows]))
                continue
            part.mul_(scale[rows, None])
            part.scatter_add_(1, local[rows, None], at_label[rows, None])
        flat[:, real:] = 0
        return flat.view(ctx.shape), None, None, None, None, None


def _exponentials(part: Tensor, local: Tensor, top: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of a block of logits: exponentials relative to the largest logit, their sum, the label's logit, the largest."""
    work = part.float()
    if top is None:
        top = work.amax(-1)
    work = work - top[:, None]
    exponentials = work.exp()
    return exponentials.to(part.dtype), exponentials.sum(-1), work.gather(1, local[:, None])[:, 0], top


def _gradient(part: Tensor, scale: Tensor, local: Tensor, at_label: Tensor) -> Tensor:
    """The gradient of a block from its exponentials."""
    hit = torch.arange(part.size(1), device=part.device)[None] == local[:, None]
    return (part.float() * scale[:, None] + hit * at_label[:, None]).to(part.dtype)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one kernel."""
    return torch.compile(function, dynamic=True)


def _blocks(flat: Tensor) -> Iterator[slice]:
    """Slices of rows of `flat` `[N, V]` that fill about a block."""
    size = _BLOCK_BYTES_GPU if flat.is_cuda else _BLOCK_BYTES_CPU
    rows = max(1, size // (flat.size(1) * 4))
    for start in range(0, flat.size(0), rows):
        yield slice(start, start + rows)
