"""KL(model || reference) of whole responses, in nats.

Responses are sampled from the model at temperature 1. At each position of a response the divergence of the two
next-token distributions is computed exactly over the vocabulary, and summed: the Rao-Blackwellised estimator (Amini,
Vieira & Cotterell 2025, "Better Estimation of the KL Divergence Between Language Models"). It is unbiased like the
log-ratio of the sampled tokens, is never negative, and has a smaller variance. Responses cut at the length limit count
as far as they go, so the figure is the divergence of the first `max_new_tokens` tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from evaluation import statistics
from evaluation.config import KlConfig
from evaluation.generate import Completion, Sampling
from evaluation.loglikelihood import batches, scored_positions
from evaluation.records import read_prompts
from evaluation.responses import Responses
from evaluation.scores import BlockResult, Item, make_score
from millbase.errors import InputError
from millbase.progress import progress
from training.load import tokenizer_digest

if TYPE_CHECKING:
    from training.load import LoadedModel

NAME = "kl"


def run_kl(
    model: LoadedModel,
    reference: LoadedModel,
    block: KlConfig,
    responses: Responses,
    *,
    batch_size: int,
    maximum_bad_share: float,
) -> BlockResult:
    """Sample responses and measure. InputError when the two models do not share a tokenizer."""
    ours, theirs = tokenizer_digest(model.path), tokenizer_digest(reference.path)
    if ours != theirs:
        raise InputError(
            f"KL needs one tokenizer: {str(model.path)!r} has digest {ours[:12]}, reference {str(reference.path)!r} "
            f"{theirs[:12]}; give a reference trained with the same tokenizer"
        )
    prompts = read_prompts(block.prompts, limit=block.limit, maximum_bad_share=maximum_bad_share)
    completions = responses(
        model,
        prompts.rows,
        sampling=Sampling(temperature=1.0),
        max_new_tokens=block.max_new_tokens,
        description="responses for KL",
    )
    values = sequence_kl(model, reference, completions, batch_size=batch_size)
    items: list[Item] = [
        {
            "id": prompt.id,
            "prompt_hash": prompt.digest,
            "tokens": len(completion.ids),
            "scores": {NAME: value},
        }
        for prompt, completion, value in zip(prompts.rows, completions, values, strict=True)
    ]
    estimate = statistics.mean(values)
    per_token = statistics.ratio(values, [len(completion.ids) for completion in completions])
    path = f"items/{NAME}.jsonl"
    details = {"mean_tokens": sum(len(completion.ids) for completion in completions) / len(completions)}
    scores = [
        make_score(NAME, NAME, estimate, higher_is_better=False, items=path, details=details),
        make_score(NAME, "per_token", per_token, higher_is_better=False, items=None),
    ]
    # no comparison: a divergence is never below zero, so an interval that excludes zero would say nothing
    return BlockResult(scores, items={path: items}, skipped={block.prompts: prompts.skipped} if prompts.skipped else {})


def sequence_kl(
    model: LoadedModel, reference: LoadedModel, completions: list[Completion], *, batch_size: int = 64
) -> list[float]:
    """KL of each completion: sum over its positions of sum_v p(v) (log p(v) - log q(v)), in nats."""
    rows = [completion.prompt_ids + completion.ids for completion in completions]
    values = [0.0] * len(rows)
    with progress("KL", total=len(rows), unit="responses") as bar:
        for batch in batches([len(row) for row in rows], batch_size, model.model.config.vocab_size):
            counts = [len(completions[i].ids) for i in batch]
            chosen = [rows[i] for i in batch]
            log_p_NV = scored_positions(model, chosen, counts)[2]
            log_q_NV = scored_positions(reference, chosen, counts)[2].to(log_p_NV.device)
            # log_softmax is finite in float32 even where a probability rounds to zero, so no term is infinite
            kl_N = (log_p_NV.exp() * (log_p_NV - log_q_NV)).sum(-1).to(torch.float64)
            for i, part in zip(batch, kl_N.split(counts), strict=True):
                values[i] = float(part.sum())
            bar.advance(len(batch))
    return values
