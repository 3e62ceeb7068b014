"""The `scores` artifact: aggregates with intervals, comparisons, gates, and the items behind them.

`scores.json` holds the aggregates; `items/NAME.jsonl` holds one JSON object per item with at least
`id`, `prompt_hash` and `scores` (metric -> number, or `[numerator, denominator]` for ratio metrics).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evaluation.statistics import Estimate
from millbase.artifacts import open_artifact
from millbase.atomic import atomic_write
from millbase.errors import ArtifactError

SCHEMA = 1

Item = dict[str, Any]


@dataclass(frozen=True)
class Score:
    """One metric of one task."""

    task: str
    metric: str
    value: float
    stderr: float | None
    ci95: tuple[float | None, float | None]
    n: int
    higher_is_better: bool
    task_version: str
    items: str | None
    """Path of the items below the artifact."""
    method: str = ""
    """How the interval was made."""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`TASK METRIC`, or one word when they are the same."""
        return metric_name(self.task, self.metric)


@dataclass(frozen=True)
class Comparison:
    """One metric against something else: another model on the same items, a baseline, a fixed value."""

    name: str
    task: str
    metric: str
    kind: str
    """`paired_difference`, `ratio`, `win_rate` or `value`."""
    value: float
    stderr: float | None
    ci95: tuple[float | None, float | None]
    n: int
    null: float
    """The value that means no difference."""
    higher_is_better: bool
    verdict: str
    """`better` or `worse` when the interval excludes `null`, else `no difference`."""
    method: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def metric_name(task: str, metric: str) -> str:
    """How scores are called in gates and comparisons."""
    return task if task == metric else f"{task} {metric}"


def make_score(
    task: str,
    metric: str,
    estimate: Estimate,
    *,
    higher_is_better: bool,
    items: str | None,
    task_version: str = "1",
    details: dict[str, Any] | None = None,
) -> Score:
    """A score from an estimate."""
    return Score(
        task=task,
        metric=metric,
        value=estimate.value,
        stderr=finite(estimate.stderr),
        ci95=(finite(estimate.low), finite(estimate.high)),
        n=estimate.n,
        higher_is_better=higher_is_better,
        task_version=task_version,
        items=items,
        method=estimate.method,
        details=details or {},
    )


def make_comparison(
    task: str,
    metric: str,
    other: str,
    estimate: Estimate,
    *,
    kind: str,
    null: float,
    higher_is_better: bool,
    details: dict[str, Any] | None = None,
) -> Comparison:
    """A comparison from an estimate; its name is `TASK METRIC vs OTHER`."""
    return Comparison(
        name=f"{metric_name(task, metric)} vs {other}",
        task=task,
        metric=metric,
        kind=kind,
        value=estimate.value,
        stderr=finite(estimate.stderr),
        ci95=(finite(estimate.low), finite(estimate.high)),
        n=estimate.n,
        null=null,
        higher_is_better=higher_is_better,
        verdict=verdict(estimate, null, higher_is_better),
        method=estimate.method,
        details=details or {},
    )


def verdict(estimate: Estimate, null: float, higher_is_better: bool) -> str:
    """`better`, `worse` or `no difference`, by whether the 95% interval excludes `null`."""
    if estimate.low > null:
        return "better" if higher_is_better else "worse"
    if estimate.high < null:
        return "worse" if higher_is_better else "better"
    return "no difference"


def finite(value: float) -> float | None:
    """The number, or None for what JSON cannot hold."""
    return value if math.isfinite(value) else None


@dataclass
class BlockResult:
    """What one block of an evaluation found."""

    scores: list[Score] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    items: dict[str, list[Item]] = field(default_factory=dict)
    """Path below the artifact -> items."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """Input -> rows left out because a field was missing."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> BlockResult:
        """Undo `to_json`."""
        return cls(
            scores=[Score(**{**row, "ci95": tuple(row["ci95"])}) for row in raw["scores"]],
            comparisons=[Comparison(**{**row, "ci95": tuple(row["ci95"])}) for row in raw["comparisons"]],
            items=raw["items"],
            samples=raw["samples"],
            skipped=raw["skipped"],
        )


@dataclass(frozen=True)
class Scores:
    """A scores artifact that was read."""

    path: Path
    model_digest: str
    scores: list[Score]
    document: dict[str, Any]
    """All of `scores.json`."""

    def items(self, score: Score) -> list[Item]:
        """The items behind one of the scores; ArtifactError when the artifact has none."""
        if score.items is None:
            raise ArtifactError(f"{str(self.path)!r} holds no items for {score.name!r}; evaluate the checkpoint again")
        lines = (self.path / score.items).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def read_scores(path: str | Path) -> Scores:
    """Open a scores artifact, digests checked. ArtifactError when it is missing, changed or of another schema."""
    manifest = open_artifact(path, kind="scores")
    raw = json.loads((manifest.path / "scores.json").read_text(encoding="utf-8"))
    if raw.get("schema") != SCHEMA:
        raise ArtifactError(f"{str(path)!r}: scores schema {raw.get('schema')!r}, expected {SCHEMA}; evaluate again")
    return Scores(
        path=manifest.path,
        model_digest=raw["model"]["digest"],
        scores=[Score(**{**row, "ci95": tuple(row["ci95"])}) for row in raw["scores"]],
        document=raw,
    )


def write_items(path: Path, items: Iterable[Item]) -> None:
    """One JSON object per line, atomically; NaN is refused."""
    with atomic_write(path) as file:
        for item in items:
            file.write(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n")
