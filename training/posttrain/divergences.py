"""Divergences between a teacher's and a student's next-token distributions, `[N, K]` log-probabilities to `[N]` nats.

K is the vocabulary, or the teacher's most probable tokens and one bucket for all others (`buckets`). Merging outcomes
never raises an f-divergence (data processing inequality), so the bucketed value is a lower bound, and exact where the
teacher puts all its mass on the tokens kept; cutting the others off and renormalising, as is often done, is neither.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from training.posttrain.objectives import log1mexp

Kind = Literal["forward_kl", "reverse_kl", "jsd"]


def divergence(kind: Kind, teacher: Tensor, student: Tensor, beta: float) -> Tensor:
    """`[N]` divergences of distributions given as log-probabilities `[N, K]`.

    `forward_kl` is KL(teacher || student) (Hinton et al. 2015), `reverse_kl` KL(student || teacher) (Gu et al. 2024),
    `jsd` the generalised Jensen-Shannon divergence of Agarwal et al. 2024, section 2:
    beta KL(P || M) + (1 - beta) KL(Q || M) with M = beta P + (1 - beta) Q, P the teacher and Q the student.
    """
    if kind == "forward_kl":
        return _kl(teacher, student)
    if kind == "reverse_kl":
        return _kl(student, teacher)
    mixture = torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
    return beta * _kl(teacher, mixture) + (1 - beta) * _kl(student, mixture)


def buckets(logprobs: Tensor, ids: Tensor) -> Tensor:
    """`[N, k + 1]` log-probabilities of the tokens `ids` `[N, k]` and of all others together, from `[N, V]`."""
    return with_rest(logprobs.gather(1, ids))


def with_rest(kept: Tensor) -> Tensor:
    """`[N, k + 1]`: the log-probabilities `[N, k]` of some tokens, and that of all others together."""
    return torch.cat([kept, log1mexp(kept.logsumexp(dim=1, keepdim=True))], dim=1)


def _kl(left: Tensor, right: Tensor) -> Tensor:
    # An outcome of probability 0 adds nothing, though its logarithm is infinite.
    difference = (left - right).masked_fill(left == -math.inf, 0.0)
    return (left.exp() * difference).sum(dim=1)
