"""Scores beside their contamination: the share of items that the training corpus holds, and the score without them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evaluation import statistics
from evaluation.scores import Item, Score, finite
from evaluation.statistics import Estimate
from millbase.artifacts import open_artifact
from millbase.errors import ArtifactError


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


def read_flags(path: str | Path) -> dict[str, dict[str, bool]]:
    """From a contamination artifact: path of the items -> item id -> whether the corpus holds it.

    Raises ArtifactError when it is none, or of an earlier form that did not say which items were looked for.
    """
    manifest = open_artifact(path, kind="contamination")
    document = json.loads((manifest.path / "contamination.json").read_text(encoding="utf-8"))
    if "items_clean" not in document:
        raise ArtifactError(f"{str(path)!r} does not say which items were looked for; make it again")
    found: dict[str, dict[str, bool]] = {}
    for name, hit in (("items_found", True), ("items_clean", False)):
        for items, names in document[name].items():
            found.setdefault(items, {}).update(dict.fromkeys(names, hit))
    return found


def with_clean(
    scores: Sequence[Score],
    items: Callable[[Score], list[Item]],
    flags: Mapping[str, Mapping[str, bool]] | None,
) -> list[Score]:
    """The scores, each with `clean` in its details when its items were looked for: see `clean_json`."""
    if flags is None:
        return list(scores)
    found = []
    for score in scores:
        looked = flags.get(str(score.items))
        clean = None if looked is None else clean_score(score, items(score), looked)
        found.append(score if clean is None else replace(score, details={**score.details, "clean": clean_json(clean)}))
    return found


def clean_json(clean: CleanScore) -> dict[str, Any]:
    """`contaminated` (the share), and the score of the rest, each with interval and n; null when no item is left."""

    def row(estimate: Estimate | None) -> dict[str, Any] | None:
        if estimate is None:
            return None
        return {"value": estimate.value, "ci95": [finite(estimate.low), finite(estimate.high)], "n": estimate.n}

    return {"contaminated": row(clean.contaminated), "score": row(clean.clean), "unchecked": clean.unchecked}
