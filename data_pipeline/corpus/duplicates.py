"""Duplicate removal over the documents that all tasks kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from data_pipeline.base.drops import Drop
from data_pipeline.base.sorting import Space
from data_pipeline.corpus.survivors import Survivors
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.dedup.cuts import find_cuts
from data_pipeline.dedup.documents import EXACT, NEAR, PARAGRAPHS, REASONS, STEPS, SUBSTRINGS, URL
from data_pipeline.dedup.duplicates import drop_equal, drop_near
from data_pipeline.dedup.index import write_index

_PIECE = 1 << 14


def drop_duplicates(survivors: Survivors, config: DedupConfig, space: Space, workers: int = 1) -> None:
    """Addresses, exact duplicates, near-duplicates among the rest, and then what the texts left have in common.

    `workers` processes compare signatures; the rest is sorting, in this one.
    """
    documents = survivors.documents
    for kind, enabled in ((URL, config.url), (EXACT, config.exact), (NEAR, config.near)):
        if not enabled:
            continue
        started = time.perf_counter()
        if kind == NEAR:
            drop_near(documents, config, space, workers)
        else:
            drop_equal(documents, kind, space)
        survivors.seconds[STEPS[kind]] = time.perf_counter() - started
    if config.paragraphs.enabled or config.substrings.enabled:
        started = time.perf_counter()
        survivors.cuts = find_cuts(
            documents,
            config,
            lambda name: _lists(survivors, name),
            survivors.files.text,
            survivors.sizes,
            space,
        )
        step = SUBSTRINGS if config.substrings.enabled else PARAGRAPHS
        survivors.seconds[STEPS[step]] = time.perf_counter() - started


def duplicate_drops(
    survivors: Survivors, first: int, last: int, config: DedupConfig
) -> Iterator[tuple[int, str, Drop]]:
    """(row, step, drop) of the rows from `first` to before `last` that duplicate removal dropped."""
    documents = survivors.documents
    rows = np.flatnonzero(documents.step[first:last]) + first
    keepers = documents.keeper[rows]
    names = survivors.table["id"].take(pa.array(np.where(keepers < documents.count, keepers, 0))).to_pylist()
    earlier = np.flatnonzero(keepers >= documents.count)
    indexed = survivors.indexed_ids.take(pa.array(keepers[earlier] - documents.count)).to_pylist()
    for place, name in zip(earlier.tolist(), indexed, strict=True):
        names[place] = f"{name} (indexed)"
    limits = {PARAGRAPHS: config.paragraphs.min_left_characters, SUBSTRINGS: config.substrings.min_left_characters}
    columns = (rows, documents.step[rows], documents.similarity[rows])
    for row, kind, value, name in zip(*(column.tolist() for column in columns), names, strict=True):
        if kind in limits:
            yield row, STEPS[kind], Drop(REASONS[kind], value, float(limits[kind]))
        elif kind == NEAR:
            drop = Drop(REASONS[kind], round(value, 4), config.minhash.min_similarity, f"of {name}")
            yield row, STEPS[kind], drop
        else:
            yield row, STEPS[kind], Drop(REASONS[kind], detail=f"of {name}")


def index_kept(survivors: Survivors, config: DedupConfig) -> None:
    """Write the `dedup-index` of the documents that are left."""

    def kept() -> Iterable[tuple[np.ndarray, pa.Array]]:
        for first, rows in survivors.pieces(_PIECE):
            ids = survivors.table["id"].slice(first, _PIECE).take(pa.array(rows - first))
            yield rows, ids.combine_chunks()

    write_index(config, survivors.documents, kept())


def _lists(survivors: Survivors, name: str) -> Iterator[tuple[int, pa.ListArray]]:
    """(row of the first document, its lists) of a column of the tasks' files."""
    row = 0
    for task in range(survivors.files.tasks):
        for table in survivors.files.batches(task, "kept"):
            yield row, table[name].combine_chunks()
            row += table.num_rows
