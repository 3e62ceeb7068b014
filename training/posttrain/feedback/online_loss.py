"""DPO on token sequences: their log-probabilities, and the losses. Shapes: N sequences, B pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import logsigmoid

from training.posttrain.ppo.logprobs import token_logprobs
from training.posttrain.ppo.models import Policy

Tokens = tuple[list[int], list[int]]
"""Token ids of a prompt and of a completion."""


def sequence_logprobs(policy: Policy, sequences: Sequence[Tokens], temperature: float, chunk: int) -> torch.Tensor:
    """Summed log-probability [N] of each completion given its prompt, nats, of softmax(logits / temperature).

    Sequences are padded on the right; under causal attention no real token sees the padding.
    """
    width = max(len(prompt) + len(completion) for prompt, completion in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, (prompt, completion) in enumerate(sequences):
        whole = prompt + completion
        ids[row, : len(whole)] = torch.tensor(whole)
        rows += [row] * len(completion)
        columns += range(len(prompt) - 1, len(whole) - 1)  # a token is predicted at the position before its own
        targets += completion
    device = policy.device
    row_index = torch.tensor(rows, device=device)
    hidden = policy.hidden(ids.to(device))[row_index, torch.tensor(columns, device=device)]
    logps, _ = token_logprobs(hidden, policy.head, torch.tensor(targets, device=device), temperature, chunk)
    return torch.zeros(len(sequences), device=device).index_add(0, row_index, logps)


def pair_losses(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    lengths: tuple[torch.Tensor, torch.Tensor],
    beta: float,
    loss: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss [B], implicit rewards [2, B] of chosen and rejected) from summed log-probabilities [B].

    `sigmoid`: -log sigmoid(beta * (log-ratio of chosen - log-ratio of rejected)) (Rafailov et al. 2023, equation 7).
    `ipo`: (difference of log-ratios per token - 1 / (2 beta))^2 (Azar et al. 2023, equation 17; averaged over tokens as
    its authors advise). `lengths`: tokens of the completions.
    """
    ratios = torch.stack([chosen - reference_chosen, rejected - reference_rejected])
    if loss == "sigmoid":
        losses = -logsigmoid(beta * (ratios[0] - ratios[1]))
    else:
        losses = (ratios[0] / lengths[0] - ratios[1] / lengths[1] - 1 / (2 * beta)) ** 2
    return losses, beta * ratios.detach()
