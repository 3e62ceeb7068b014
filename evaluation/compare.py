"""Compares two scores artifacts item by item: the paired gate between one stage and the next.

Pairing removes the variance that both models share, the difficulty of the items (Miller 2024, section 4.2). Items pair
when their id and prompt hash agree, so a changed prompt, chat template or document never counts as a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluation import statistics
from evaluation.scores import Comparison, Item, Score, make_comparison, read_scores
from evaluation.statistics import Estimate
from millbase.errors import ArtifactError

UNPAIRED = frozenset({"win_rate", "kl"})
"""Already comparisons with another model, so not compared once more."""


def compare(scores_a: str | Path, scores_b: str | Path, other: str = "previous") -> list[Comparison]:
    """Paired comparison of every metric that two scores artifacts share, `scores_a` minus `scores_b`.

    Args:
        scores_a: scores of the model in question.
        scores_b: scores of the model it is held against.
        other: what to call the latter in the comparisons' names.

    Raises:
        ArtifactError: not scores artifacts, other task versions, or a shared task without a common item.
    """
    a, b = read_scores(scores_a), read_scores(scores_b)
    return compare_scores(a.scores, a.items, b.scores, b.items, other)


def compare_scores(
    ours: list[Score],
    our_items: Callable[[Score], list[Item]],
    theirs: list[Score],
    their_items: Callable[[Score], list[Item]],
    other: str,
) -> list[Comparison]:
    """As `compare`, for scores that are not (yet) on disk."""
    opposite = {(score.task, score.metric): score for score in theirs}
    comparisons: list[Comparison] = []
    for score in ours:
        match = opposite.get((score.task, score.metric))
        if score.task in UNPAIRED or match is None or score.items is None or match.items is None:
            continue
        if score.task_version != match.task_version:
            raise ArtifactError(
                f"task {score.task!r} has version {score.task_version} here and {match.task_version} in the "
                f"{other} scores; their results do not compare, evaluate both with one version"
            )
        paired = _pair(score, our_items(score), their_items(match), other)
        if paired is None:
            continue
        estimate, details = paired
        comparisons.append(
            make_comparison(
                score.task,
                score.metric,
                other,
                estimate,
                kind="paired_difference",
                null=0.0,
                higher_is_better=score.higher_is_better,
                details=details,
            )
        )
    return comparisons


def _pair(
    score: Score, ours: list[Item], theirs: list[Item], other: str
) -> tuple[Estimate, dict[str, float | int]] | None:
    """The estimate over common items; None when the metric has no per-item values."""
    having = [item for item in ours if score.metric in item["scores"]]
    if not having:
        return None
    opposite = {_key(item): item for item in theirs if score.metric in item["scores"]}
    pairs = [(item, opposite[_key(item)]) for item in having if _key(item) in opposite]
    if not pairs:
        raise ArtifactError(
            f"{score.name!r} has no item in common with the {other} scores (their prompts differ): evaluate both "
            "with the same data, chat template and few-shot setting"
        )
    details: dict[str, float | int] = {}
    if len(pairs) < len(having):
        details["unpaired"] = len(having) - len(pairs)
    a = [item["scores"][score.metric] for item, _ in pairs]
    b = [item["scores"][score.metric] for _, item in pairs]
    clusters = [str(item["cluster"]) for item, _ in pairs] if all("cluster" in item for item, _ in pairs) else None
    if isinstance(a[0], list):  # [numerator, denominator]
        differences = [x[0] - y[0] for x, y in zip(a, b, strict=True)]
        return statistics.ratio(differences, [x[1] for x in a], clusters), details
    if all(value in (0.0, 1.0) for value in (*a, *b)):
        details["mcnemar_p"] = statistics.mcnemar(a, b)
    return statistics.paired_difference(a, b, clusters), details


def _key(item: Item) -> tuple[str, str]:
    return str(item["id"]), str(item["prompt_hash"])
