"""A random sample of what a step dropped, or of what was kept, with the text that was judged."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from data_pipeline.base import STEPS
from data_pipeline.inspect.crawl import Crawl
from data_pipeline.inspect.tables import read_batches, schema_of
from millbase.config import suggest
from millbase.errors import ConfigError, InputError


@dataclass
class SampledPage:
    """One page of a sample."""

    id: str
    url: str
    step: str | None
    """The step that dropped it; None for kept ones."""
    reason: str | None
    value: float | None
    threshold: float | None
    detail: str | None
    text: str | None
    """Its text as far as it got, extracted again from its record; None where there is none."""


def sample_pages(
    crawl: Crawl, step: str | None = None, reason: str | None = None, count: int = 10, seed: int = 0
) -> list[SampledPage]:
    """`count` pages that `step` dropped (for `reason`, where given), or kept ones without a step.

    Chosen by a hash of seed and id, so that the same pages come again, and mostly the same from a corpus built anew.
    Raises ConfigError for a step that there is not, InputError when it dropped nothing for this reason.
    """
    if step is None:
        rows = _choose(crawl.path / "data", None, count, seed)
        return [_page(row, row.get("text", None)) for row in rows]
    if step not in STEPS:
        raise ConfigError(f"unknown step {step!r}{suggest(step, STEPS)}")
    mask = pc.field("step") == step
    if reason is not None:
        mask = mask & (pc.field("reason") == reason)
    rows = _choose(crawl.path / "dropped", mask, count, seed)
    if not rows:
        found = sorted(_reasons(crawl.path / "dropped", step))
        why = f"; its reasons: {', '.join(found)}" if found else ""
        what = f"step {step!r} dropped nothing" + (f" for the reason {reason!r}" if reason is not None else "")
        raise InputError(f"{what} in {str(crawl.path)!r}{why}")
    return [_page(row, crawl.text(row)) for row in rows]


def _choose(folder: Path, mask: pc.Expression | None, count: int, seed: int) -> list[dict[str, Any]]:
    """The rows of smallest hash, in that order; only `count` rows are held."""
    names = schema_of(folder).names
    best: list[tuple[int, str, dict[str, Any]]] = []
    for batch in read_batches(folder, names):
        table = pa.Table.from_batches([batch])
        if mask is not None:
            table = table.filter(mask)
        for index, name in enumerate(table["id"].to_pylist()):
            # negated, for the heap keeps its smallest at the front, and we drop the largest
            key = (-xxhash.xxh3_64_intdigest(f"{seed}\0{name}".encode()), name)
            if len(best) < count:
                heapq.heappush(best, (*key, table.slice(index, 1).to_pylist()[0]))
            elif best and key > best[0][:2]:
                heapq.heapreplace(best, (*key, table.slice(index, 1).to_pylist()[0]))
    return [row for *_, row in sorted(best, key=lambda item: item[:2], reverse=True)]


def _reasons(folder: Path, step: str) -> set[str]:
    return set(_of_step(folder, step))


def _of_step(folder: Path, step: str) -> Iterator[str]:
    for batch in read_batches(folder, ["step", "reason"]):
        yield from pc.unique(batch.filter(pc.equal(batch["step"], step))["reason"]).to_pylist()


def _page(row: dict[str, Any], text: str | None) -> SampledPage:
    why: dict[str, Any] = {name: row.get(name) for name in ("step", "reason", "value", "threshold", "detail")}
    return SampledPage(id=row["id"], url=row["url"], text=text, **why)
