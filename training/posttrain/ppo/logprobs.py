"""Log-probabilities of chosen tokens without the [batch, length, vocabulary] tensor.

The language-model head is applied to a chunk of positions at a time; in training each chunk is recomputed in the
backward pass, so at most one chunk of logits exists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    logits = head(hidden).float() / temperature
    normalizer = logits.logsumexp(-1)
    logp = logits.gather(-1, targets[:, None])[:, 0] - normalizer
    if not with_entropy:
        return logp, logp.detach()
    entropy = normalizer - (torch.softmax(logits, -1) * logits).sum(-1)
    return logp, entropy


@dataclass(frozen=True)
class Comparison:
    """What two policies say at the same positions, each [N], in nats."""

    reference_logp: torch.Tensor
    """Log-probability of the target under the reference."""
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
        policy = (head(hidden_NH[part]).float() / temperature).log_softmax(-1)
        reference = (reference_head(reference_NH[part]).float() / temperature).log_softmax(-1)
        p = policy.exp()
        logp = reference.gather(-1, targets_N[part, None])[:, 0]
        parts.append((logp, (p * (policy - reference)).sum(-1), -(p * policy).sum(-1)))
    if not parts:
        empty = hidden_NH.new_zeros(0, dtype=torch.float32)
        return Comparison(empty, empty, empty)
    return Comparison(*(torch.cat(tensors) for tensors in zip(*parts)))
