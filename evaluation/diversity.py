"""How much several responses to one prompt differ, for the model and, where there is one, for the reference.

- `distinct_N`: distinct N-grams over all N-grams of a prompt's responses (Li et al. 2016, arXiv:1510.03055, 5.3);
- `self_bleu`: mean BLEU-4 of each response against the prompt's others (Zhu et al. 2018, Texygen, section 3.3), with
  sacrebleu's exponential smoothing; 1 when all are equal;
- `entropy`: entropy of the next-token distribution over the vocabulary, averaged over the positions of a prompt's
  responses (nats a token); it shows a collapsed policy even when the few responses happen to differ;
- `repeated_share`: share of responses that equal an earlier response to the same prompt.

N-grams are of words and punctuation marks, in lower case. distinct_N falls with length, so lengths stand in the
details.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evaluation import statistics
from evaluation.behaviour_config import DIVERSITY
from evaluation.config import EvaluationConfig
from evaluation.generate import Completion, Sampling
from evaluation.loglikelihood import batches, scored_positions
from evaluation.records import Prompt, read_prompts
from evaluation.responses import Responses
from evaluation.scores import BlockResult, Comparison, Item, Score, make_comparison, make_score
from millbase.progress import progress

if TYPE_CHECKING:
    from training.load import LoadedModel

NAME = "diversity"
ORDERS = (1, 2, 3)


def run_diversity(
    model: LoadedModel, reference: LoadedModel | None, config: EvaluationConfig, responses: Responses
) -> BlockResult:
    """Draw, measure, compare prompt by prompt with the reference."""
    block = config.diversity
    assert block is not None, "the configuration asks for this block"
    prompts = read_prompts(block.prompts, limit=block.limit, maximum_bad_share=config.maximum_bad_share)
    tables = [_measure(loaded, prompts.rows, config, responses) for loaded in (model, reference) if loaded is not None]
    items: list[Item] = [
        {
            "id": prompt.id,
            "prompt_hash": prompt.digest,
            "prompt": prompt.text,
            "responses": row["responses"],
            "scores": row["scores"],
            **({"reference_scores": tables[1][i]["scores"]} if reference is not None else {}),
        }
        for i, (prompt, row) in enumerate(zip(prompts.rows, tables[0], strict=True))
    ]
    path = f"items/{NAME}.jsonl"
    details = {"samples": block.samples, "mean_words": sum(row["words"] for row in tables[0]) / len(tables[0])}
    if reference is not None:
        details["reference_mean_words"] = sum(row["words"] for row in tables[1]) / len(tables[1])
    scores = [_score(metric, items, path, details) for metric in DIVERSITY]
    comparisons = [_compared(metric, items) for metric in DIVERSITY] if reference is not None else []
    return BlockResult(
        scores, comparisons, {path: items}, skipped={block.prompts: prompts.skipped} if prompts.skipped else {}
    )


def _measure(
    loaded: LoadedModel, prompts: Sequence[Prompt], config: EvaluationConfig, responses: Responses
) -> list[dict[str, Any]]:
    """Responses, their words and scores of each prompt."""
    assert config.diversity is not None
    drawn, k = config.diversity.sampling, config.diversity.samples
    asked = [Prompt(f"{prompt.id}#{i}", prompt.messages, None) for prompt in prompts for i in range(k)]
    completions = responses(
        loaded,
        asked,
        sampling=Sampling(drawn.temperature, drawn.top_p, drawn.top_k),
        max_new_tokens=drawn.max_new_tokens,
        description="several responses",
    )
    entropies = sequence_entropy(loaded, completions, batch_size=config.batch_size)
    table = []
    for start in range(0, len(completions), k):
        group = completions[start : start + k]
        texts = [completion.text for completion in group]
        words = [split(text) for text in texts]
        scores = {f"distinct_{n}": distinct(words, n) for n in ORDERS}
        scores["self_bleu"] = self_bleu(words)
        scores["repeated_share"] = 1 - len(set(texts)) / len(texts)
        scores["entropy"] = sum(entropies[start : start + k]) / sum(len(one.ids) for one in group)
        table.append({"responses": texts, "words": sum(map(len, words)) / k, "scores": scores})
    return table


def split(text: str) -> list[str]:
    """Words and punctuation marks, in lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def distinct(responses: Sequence[Sequence[str]], n: int) -> float:
    """Distinct n-grams over all n-grams of the responses; 0 when they have none (all shorter than n)."""
    grams = [tuple(words[i : i + n]) for words in responses for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(responses: Sequence[Sequence[str]]) -> float:
    """Mean BLEU-4, from 0 to 1, of each response against all others. Empty responses count as equal to one another."""
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(tokenize="none", smooth_method="exp", effective_order=True)
    texts = [" ".join(words) for words in responses]
    values = []
    for i, text in enumerate(texts):
        others = texts[:i] + texts[i + 1 :]
        values.append(1.0 if text in others else bleu.sentence_score(text, others).score / 100 if text else 0.0)
    return sum(values) / len(values)


def sequence_entropy(loaded: LoadedModel, completions: Sequence[Completion], *, batch_size: int) -> list[float]:
    """Sum over each completion's positions of the entropy of the next token, in nats, at temperature 1."""
    rows = [completion.prompt_ids + completion.ids for completion in completions]
    values = [0.0] * len(rows)
    with progress("entropy", total=len(rows), unit="responses") as bar:
        for batch in batches([len(row) for row in rows], batch_size, loaded.model.config.vocab_size):
            counts = [len(completions[i].ids) for i in batch]
            log_p_NV = scored_positions(loaded, [rows[i] for i in batch], counts)[2]
            entropy_N = -(log_p_NV.exp() * log_p_NV).sum(-1).double()
            for i, part in zip(batch, entropy_N.split(counts), strict=True):
                values[i] = float(part.sum())
            bar.advance(len(batch))
    return values


def _score(metric: str, items: Sequence[Item], path: str, details: dict[str, Any]) -> Score:
    estimate = statistics.mean([item["scores"][metric] for item in items])
    return make_score(NAME, metric, estimate, higher_is_better=DIVERSITY[metric], items=path, details=details)


def _compared(metric: str, items: Sequence[Item]) -> Comparison:
    """The model's value minus the reference's, prompt by prompt."""
    ours = [item["scores"][metric] for item in items]
    theirs = [item["reference_scores"][metric] for item in items]
    estimate = statistics.paired_difference(ours, theirs)
    return make_comparison(
        NAME,
        metric,
        "reference",
        estimate,
        kind="paired_difference",
        null=0.0,
        higher_is_better=DIVERSITY[metric],
    )
