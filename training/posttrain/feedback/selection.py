"""Which of K scored answers become training data, and what K is worth. Pure functions.

Best-of-n: of K scores the expected maximum of n drawn without replacement is a sum over order statistics, unbiased for
the expected best of n fresh samples (the estimator of pass@k, Chen et al. 2021, for any score; Nakano et al. 2021,
appendix I). The KL of choosing the best of n is at most log n - (n - 1)/n (Stiennon et al. 2020; Beirami et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from training.posttrain.feedback.answers import Answer, Answered
from training.posttrain.feedback.config import SelectionConfig


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt."""

    chosen: Answer
    rejected: Answer


@dataclass(frozen=True)
class Chosen:
    """What one prompt gives."""

    row: Answered
    kept: list[Answer]
    """Best first; empty when no answer may be kept."""
    pairs: list[Pair]
    duplicates: int
    """Answers that repeat an earlier one."""


def choose(row: Answered, config: SelectionConfig) -> Chosen:
    """The answers to keep and the pairs of one prompt."""
    different = distinct(row.answers)
    scored = [answer for answer in different if answer.score is not None]
    ordered = sorted(scored, key=lambda answer: _better_first(answer, config.ties))
    usable = [answer for answer in ordered if answer.finished or not config.require_end]
    usable = [answer for answer in usable if answer.text.strip()]
    kept = [answer for answer in usable if config.min_score is None or _score(answer) >= config.min_score]
    pairs = _pairs(usable, [answer for answer in ordered if answer.text.strip()], config)
    return Chosen(row, kept[: config.keep], pairs, len(row.answers) - len(different))


def distinct(answers: Sequence[Answer]) -> list[Answer]:
    """Answers whose text, blank space at its ends aside, no earlier one has."""
    found: dict[str, Answer] = {}
    for answer in answers:
        found.setdefault(answer.text.strip(), answer)
    return list(found.values())


def best_prompts(chosen: Sequence[Chosen], share: float) -> list[Chosen]:
    """The prompts with an answer to keep; with `share` below 1, those of them with the highest best score, in order."""
    having = [one for one in chosen if one.kept]
    if share >= 1 or not having:
        return having
    count = max(1, round(share * len(having)))
    order = sorted(range(len(having)), key=lambda i: (-_score(having[i].kept[0]), i))
    return [having[i] for i in sorted(order[:count])]


def expected_best(scores: Sequence[float], n: int) -> float:
    """Expected maximum of `n` of the K `scores`, drawn without replacement.

    The i-th smallest score is the maximum of C(i - 1, n - 1) of the C(K, n) subsets.
    """
    assert 1 <= n <= len(scores), f"best of {n} from {len(scores)} scores"
    total = math.comb(len(scores), n)
    return sum(math.comb(i, n - 1) / total * score for i, score in enumerate(sorted(scores)))


def gain_by_n(rows: Sequence[Answered], samples: int) -> list[dict[str, Any]]:
    """For n = 1, 2, 4, ... K: mean over prompts of the expected best score of n, its standard error, the KL bound.

    Prompts of which an answer has no score are left out.
    """
    whole = [row for row in rows if all(answer.score is not None for answer in row.answers)]
    scores = [[_score(answer) for answer in row.answers] for row in whole]
    numbers = sorted({*(2**i for i in range(samples.bit_length()) if 2**i <= samples), samples})
    if not scores:
        return []
    result = []
    for n in numbers:
        values = [expected_best(one, n) for one in scores]
        mean = sum(values) / len(values)
        spread = sum((value - mean) ** 2 for value in values)
        stderr = math.sqrt(spread / (len(values) - 1) / len(values)) if len(values) > 1 else None
        result.append({"n": n, "score": mean, "stderr": stderr, "kl_bound": math.log(n) - (n - 1) / n})
    return result


def _pairs(usable: list[Answer], scored: list[Answer], config: SelectionConfig) -> list[Pair]:
    if config.pairs == "none":
        return []
    if config.pairs == "best_worst":
        found = [(usable[0], scored[-1])] if usable and len(scored) > 1 else []
    else:
        found = [(a, b) for a, b in combinations(scored, 2) if any(a is one for one in usable)]
    return [Pair(a, b) for a, b in found if _score(a) - _score(b) > config.min_margin]


def _better_first(answer: Answer, ties: str) -> tuple[float, int]:
    return -_score(answer), (len(answer.text) if ties == "shortest" else 0)


def _score(answer: Answer) -> float:
    assert answer.score is not None, "only scored answers are compared"
    return answer.score
