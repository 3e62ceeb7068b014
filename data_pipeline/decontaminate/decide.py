"""The global part of decontamination: common runs are set aside, and every document that holds others is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from data_pipeline.base import Drop
from data_pipeline.decontaminate.config import DecontaminateConfig
from data_pipeline.decontaminate.index import ContaminationIndex
from data_pipeline.decontaminate.judge import Judge, Verdict
from data_pipeline.decontaminate.report import Tally


class Edit(NamedTuple):
    """A document that stays without the stretches it shared."""

    text: str
    """What is left of it."""
    removed: int
    """Characters removed."""


@dataclass
class Outcome:
    """What decontamination does to N documents."""

    report: dict[str, Any]
    """What `contamination.json` holds."""
    drops: dict[int, Drop] = field(default_factory=dict)
    """Documents that go, by their number."""
    edits: dict[int, Edit] = field(default_factory=dict)
    """Documents that stay in part, by their number; their texts are held in memory."""


def decide(
    config: DecontaminateConfig,
    index: ContaminationIndex,
    contamination: pa.ChunkedArray | pa.ListArray,
    ids: Sequence[str],
    text_of: Callable[[int], str],
) -> Outcome:
    """Judge N documents.

    `contamination` is list<int32> [N], what `ContaminationFinder` found in each; `text_of(i)` gives the text of
    document i, and is called only for those that hold a run.
    """
    if isinstance(contamination, pa.ChunkedArray):
        contamination = contamination.combine_chunks()
    rows = contamination.flatten().to_numpy(zero_copy_only=False)
    documents = np.bincount(rows, minlength=len(index.keys))
    limit = config.max_documents
    common = documents > limit if limit is not None else np.zeros(len(index.keys), dtype=bool)
    judge, tally = Judge(config, index, common), Tally(config, index, documents, common)
    outcome = Outcome({})
    for number in np.flatnonzero(contamination.is_valid().to_numpy(zero_copy_only=False)).tolist():
        text = text_of(number)
        verdict = judge.judge(text)
        tally.add(ids[number], text, verdict)
        _record(outcome, number, verdict)
    outcome.report = tally.report(len(ids))
    return outcome


def _record(outcome: Outcome, number: int, verdict: Verdict) -> None:
    if verdict.drop is not None:
        outcome.drops[number] = verdict.drop
    elif verdict.text is not None:
        outcome.edits[number] = Edit(verdict.text, verdict.removed)
