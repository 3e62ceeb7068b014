"""Sampling completions from the policy: a lean loop over a transformers model with a key-value cache.

`generate()` is not used: it would take settings from the checkpoint's generation_config (repetition_penalty, top_k,
...) that make the sampled distribution another one than the log-probabilities describe, and its bookkeeping costs
more than a small model. Here a token is drawn from softmax(logits / temperature) and nothing else.

Randomness comes in as numbers in [0, 1), one per (row, position), turned into tokens by the inverse of the cumulative
distribution. So a completion depends on its prompt, the weights and its own numbers, never on which rows share its
batch, when they finish, or how many processes take part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.posttrain.ppo.cache import sampling_cache
from training.posttrain.ppo.models import Policy

COMPACT_BELOW = 0.8
"""When fewer than this share of a batch's rows are unfinished, the finished ones are taken out."""


@dataclass(frozen=True)
class Completion:
    """One sampled completion."""

    tokens: list[int]
    """With the end-of-turn token, when there is one."""
    logps: list[float]
    """The sampler's own log-probability of each token."""
    finished: bool
    """Ended with an end-of-turn token."""


@torch.no_grad()
def sample(
    policy: Policy, prompts: list[list[int]], uniforms: torch.Tensor, temperature: float, batch_size: int
) -> list[Completion]:
    """One completion per prompt (token ids); `uniforms` [B, max new tokens] in [0, 1), float64.

    Prompts of like length are sampled together, `batch_size` at a time; the result is in the prompts' order.
    """
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    done: dict[int, Completion] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        completions = _sample_batch(policy, [prompts[i] for i in rows], uniforms[rows], temperature)
        done.update(zip(rows, completions))
    return [done[i] for i in range(len(prompts))]


def _sample_batch(
    policy: Policy, prompts: list[list[int]], uniforms: torch.Tensor, temperature: float
) -> list[Completion]:
    device, max_new = policy.device, uniforms.shape[1]
    batch, width = len(prompts), max(map(len, prompts))
    # prompts are padded on the left, so that every row's next token stands in the same column
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.ones(batch, width + max_new, dtype=torch.long, device=device)
    mask[:, :width] = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    positions = (mask[:, :width].cumsum(1) - 1).clamp(min=0)
    next_position = positions[:, -1:] + 1
    uniforms = uniforms.to(device)
    ends = torch.tensor(sorted(policy.end_ids), device=device)

    tokens = torch.zeros(batch, max_new, dtype=torch.long, device=device)
    logps = torch.zeros(batch, max_new, device=device)
    lengths = torch.full((batch,), max_new, dtype=torch.long, device=device)
    finished = torch.zeros(batch, dtype=torch.bool, device=device)
    rows = torch.arange(batch, device=device)  # the rows still in the batch, by their original number
    cache = sampling_cache(policy.model.config)
    hidden = policy.hidden(ids, attention_mask=mask[:, :width], position_ids=positions, cache=cache)[:, -1]
    for step in range(max_new):
        token, logp = draw(policy.head(hidden).float() / temperature, uniforms[rows, step])
        tokens[rows, step], logps[rows, step] = token, logp
        ended = torch.isin(token, ends) & ~finished[rows]  # a finished row may stay in the batch for a while
        finished[rows[ended]] = True
        lengths[rows[ended]] = step + 1
        unfinished = ~finished[rows]
        left = int(unfinished.sum())
        if left == 0 or step + 1 == max_new:
            break
        if left < COMPACT_BELOW * len(rows):
            keep = unfinished.nonzero()[:, 0]
            cache.batch_select_indices(keep)
            rows, token, mask, next_position = rows[keep], token[keep], mask[keep], next_position[keep]
        hidden = policy.hidden(
            token[:, None],
            attention_mask=mask[:, : width + step + 1],
            position_ids=next_position + step,
            cache=cache,
        )[:, -1]
    return [
        Completion(tokens[i, :n].tolist(), logps[i, :n].tolist(), bool(finished[i]))
        for i, n in enumerate(lengths.tolist())
    ]


def draw(logits: torch.Tensor, uniforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One token per row of `logits` [B, V] by inverse transform of `uniforms` [B]: (token [B], log-probability [B])."""
    logps = logits.log_softmax(-1)
    cumulative = logps.exp().cumsum(-1, dtype=torch.float64)
    # scaling by the last entry keeps rounding from leaving a gap at the top; a token of probability 0 is never hit
    threshold = uniforms.double() * cumulative[:, -1]
    token = torch.searchsorted(cumulative, threshold[:, None], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return token, logps.gather(1, token[:, None])[:, 0]
