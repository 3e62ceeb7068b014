"""Log-probabilities of chosen tokens without the [batch, length, vocabulary] tensor.

The language-model head is applied to a chunk of positions at a time; in training each chunk is recomputed in the
backward pass, so at most one chunk of logits exists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

Head = Callable[[torch.Tensor], torch.Tensor]
"""Maps hidden states [N, H] to logits [N, V]."""


def token_logprobs(
    hidden_NH: torch.Tensor,
    head: Head,
    targets_N: torch.Tensor,
    temperature: float,
    chunk: int,
    with_entropy: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(log-probability of each target [N], entropy of each distribution [N] or None), float32, in nats.

    Both are of softmax(logits / temperature).
    """
    count = len(targets_N)
    if count == 0:
        empty = hidden_NH.new_zeros(0, dtype=torch.float32)
        return empty, empty if with_entropy else None
    # a single chunk keeps its logits for the backward pass: recomputing them would save nothing
    recompute = torch.is_grad_enabled() and count > chunk
    logps, entropies = [], []
    for start in range(0, count, chunk):
        part = (hidden_NH[start : start + chunk], head, targets_N[start : start + chunk], temperature, with_entropy)
        logp, entropy = checkpoint(_chunk, *part, use_reentrant=False) if recompute else _chunk(*part)
        logps.append(logp)
        entropies.append(entropy)
    return torch.cat(logps), torch.cat(entropies) if with_entropy else None


def _chunk(
    hidden: torch.Tensor, head: Head, targets: torch.Tensor, temperature: float, with_entropy: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = _tempered(head(hidden), temperature)
    if not with_entropy:
        logp = _TargetLogprob.apply(logits, targets)
        return logp, logp.detach()
    logps = logits.log_softmax(-1)
    return _at(logps, targets), -(logps.exp() * logps).sum(-1)


def _tempered(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    logits = logits.float()
    return logits if temperature == 1 else logits / temperature


def _at(values: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return values.gather(-1, targets[:, None])[:, 0]


class _TargetLogprob(torch.autograd.Function):
    """log_softmax(logits [N, V])[targets], whose backward pass turns the one [N, V] tensor it keeps into the gradient:
    torch's own would fill three. For one backward pass only."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logps = logits.log_softmax(-1)
        ctx.save_for_backward(logps, targets)
        return _at(logps, targets)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        logps, targets = ctx.saved_tensors
        (gradient,) = gradients
        # d logp / d logits = onehot(target) - softmax(logits)
        logits_gradient = logps.exp_().mul_(-gradient[:, None])
        logits_gradient.scatter_add_(-1, targets[:, None], gradient[:, None])
        return logits_gradient, None


@dataclass(frozen=True)
class Comparison:
    """What two policies say at the same positions, each [N], in nats."""

    logp: torch.Tensor
    """Log-probability of the target under the policy: bit for bit that of `token_logprobs` without entropy."""
    reference_logp: torch.Tensor
    """... under the reference."""
    kl: torch.Tensor
    """Exact KL(policy || reference) of the whole next-token distribution."""
    entropy: torch.Tensor
    """Entropy of the policy's distribution."""


@torch.no_grad()
def compare(
    hidden_NH: torch.Tensor,
    head: Head,
    reference_NH: torch.Tensor,
    reference_head: Head,
    targets_N: torch.Tensor,
    temperature: float,
    chunk: int,
) -> Comparison:
    """Compare policy and reference at N positions.

    The exact KL of every next-token distribution, summed over a sampled completion, is an unbiased estimate of the
    completion's KL with less variance than any estimate from the sampled tokens alone (Amini et al. 2025, "Better
    Estimation of the KL Divergence Between Language Models", section 4).
    """
    parts: list[tuple[torch.Tensor, ...]] = []
    for start in range(0, len(targets_N), chunk):
        part = slice(start, start + chunk)
        targets = targets_N[part]
        policy = _tempered(head(hidden_NH[part]), temperature).log_softmax(-1)
        reference = _tempered(reference_head(reference_NH[part]), temperature).log_softmax(-1)
        logp, reference_logp, p = _at(policy, targets), _at(reference, targets), policy.exp()
        difference = torch.sub(policy, reference, out=reference)
        kl = difference.mul_(p).sum(-1)
        parts.append((logp, reference_logp, kl, -p.mul_(policy).sum(-1)))
    if not parts:
        empty = hidden_NH.new_zeros(0, dtype=torch.float32)
        return Comparison(empty, empty, empty, empty)
    return Comparison(*(torch.cat(tensors) for tensors in zip(*parts)))
