"""Compares two scores artifacts item by item: the paired gate between one stage and the next.

Pairing removes the variance that both models share, the difficulty of the items (Miller 2024, section 4.2). Items pair
when their id and prompt hash agree, so a changed prompt, chat template or document never counts as a difference. Each
comparison carries its p-value, that p-value adjusted for the number of comparisons made with it, and the smallest
difference that its items could have shown (`significance`); `conclusion` turns them into a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from evaluation import significance, statistics
from evaluation.scores import Comparison, Item, Score, Scores, make_comparison, read_scores
from evaluation.significance import LEVEL, Correction
from evaluation.statistics import Estimate
from millbase.errors import ArtifactError

UNPAIRED = frozenset({"win_rate", "kl"})
"""Already comparisons with another model, so not compared once more."""


def comparable(earlier: Scores) -> set[str]:
    """Names of the scores of an artifact that have a value for each item, which is what a comparison pairs."""
    metrics: dict[str, set[str]] = {}
    for score in earlier.scores:
        if score.items is not None and score.items not in metrics:
            metrics[score.items] = {name for item in earlier.items(score) for name in item["scores"]}
    paired = [score for score in earlier.scores if score.task not in UNPAIRED and score.items is not None]
    return {score.name for score in paired if score.metric in metrics[str(score.items)]}


def compare(
    scores_a: str | Path, scores_b: str | Path, other: str = "previous", correction: Correction = "holm"
) -> list[Comparison]:
    """Paired comparison of every metric that two scores artifacts share, `scores_a` minus `scores_b`.

    Args:
        scores_a: scores of the model in question.
        scores_b: scores of the model it is held against.
        other: what to call the latter in the comparisons' names.
        correction: how p-values are adjusted for the number of comparisons.

    Raises:
        ArtifactError: not scores artifacts, other task versions, or a shared task without a common item.
    """
    a, b = read_scores(scores_a), read_scores(scores_b)
    return compare_scores(a.scores, a.items, b.scores, b.items, other, correction)


def compare_scores(
    ours: list[Score],
    our_items: Callable[[Score], list[Item]],
    theirs: list[Score],
    their_items: Callable[[Score], list[Item]],
    other: str,
    correction: Correction = "holm",
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
    return _adjusted(comparisons, correction)


def conclusion(comparison: Comparison, level: float = LEVEL) -> str:
    """`better`, `worse` or `cannot tell`, by the adjusted p-value: false alarms of all together stay at `level`."""
    p = comparison.details.get("p_adjusted")
    if p is None or p > level or comparison.value == comparison.null:
        return "cannot tell"
    return "better" if (comparison.value > comparison.null) == comparison.higher_is_better else "worse"


def _adjusted(comparisons: Sequence[Comparison], correction: Correction) -> list[Comparison]:
    """The comparisons with `p_adjusted` beside `p_value`; one that could not be tested has neither."""
    tested = [comparison for comparison in comparisons if "p_value" in comparison.details]
    adjusted = significance.adjust([comparison.details["p_value"] for comparison in tested], correction)
    by_name = {comparison.name: p for comparison, p in zip(tested, adjusted, strict=True)}
    return [
        replace(comparison, details={**comparison.details, "p_adjusted": by_name[comparison.name]})
        if comparison.name in by_name
        else comparison
        for comparison in comparisons
    ]


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
    binary = False
    if isinstance(a[0], list):  # [numerator, denominator]
        differences, sizes = [x[0] - y[0] for x, y in zip(a, b, strict=True)], [x[1] for x in a]
        estimate = statistics.ratio(differences, sizes, clusters)
        low, high, p_bootstrap = statistics.ratio_bootstrap(differences, sizes, 0, clusters)
        details |= {"bootstrap_low": low, "bootstrap_high": high, "bootstrap_p": p_bootstrap}
    else:
        estimate = statistics.paired_difference(a, b, clusters)
        binary = all(value in (0.0, 1.0) for value in (*a, *b))
    if binary:
        details["mcnemar_p"] = statistics.mcnemar(a, b)
    p = details["mcnemar_p"] if binary and clusters is None else significance.t_test(estimate, clusters)
    if not math.isnan(p):
        details |= {"p_value": p, "smallest_detectable": significance.smallest_detectable(estimate.stderr)}
    return estimate, details


def _key(item: Item) -> tuple[str, str]:
    return str(item["id"]), str(item["prompt_hash"])
