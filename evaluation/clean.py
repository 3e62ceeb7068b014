"""Scores beside their contamination: the share of items that the training corpus holds, and the score without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation import statistics
from evaluation.scores import Item, Score
from evaluation.statistics import Estimate


@dataclass(frozen=True)
class CleanScore:
    """One score, and what is left of it."""

    task: str
    metric: str
    value: float
    """Of all items."""
    contaminated: Estimate
    """Share of items found in the corpus, among those that were long enough to look for."""
    clean: Estimate | None
    """The score of the items not found; None when every one was."""
    unchecked: int
    """Items too short, or without a text, to look for; they count as clean."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def clean_score(score: Score, items: Sequence[Item], found: Mapping[str, bool]) -> CleanScore | None:
    """A score of the items, split by `found` (item id -> whether the corpus holds it; absent: not looked for).

    None for metrics that have no value per item, or when no item could be looked for.
    """
    having = [item for item in items if score.metric in item["scores"]]
    flags = [found[str(item["id"])] for item in having if str(item["id"]) in found]
    if not flags:
        return None
    kept = [item for item in having if not found.get(str(item["id"]), False)]
    return CleanScore(
        task=score.task,
        metric=score.metric,
        value=score.value,
        contaminated=statistics.share([float(flag) for flag in flags]),
        clean=_estimate(kept, score.metric) if kept else None,
        unchecked=len(having) - len(flags),
    )


def _estimate(items: Sequence[Item], metric: str) -> Estimate:
    """As the score was made: a share, a mean or a ratio, clustered where its items are."""
    values = [item["scores"][metric] for item in items]
    clusters = [str(item["cluster"]) for item in items] if all("cluster" in item for item in items) else None
    if isinstance(values[0], list):
        return statistics.ratio([value[0] for value in values], [value[1] for value in values], clusters)
    if all(value in (0.0, 1.0) for value in values):
        return statistics.share(values, clusters)
    return statistics.mean(values, clusters)
