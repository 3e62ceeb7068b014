"""Writing the corpus: the documents that are left, and a row for each one that is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipeline.base.drops import drop_row
from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.corpus.duplicates import duplicate_drops
from data_pipeline.corpus.ids import Renames, rename
from data_pipeline.corpus.survivors import WHERE, Survivors, open_table
from data_pipeline.dedup.cuts import removed_spans, without
from data_pipeline.write import DROPPED_SCHEMA, ShardWriter, corpus_schema
from data_pipeline.write.columns import mark_copies, replace_texts, set_column
from data_pipeline.write.task import dropped_batch

_PIECE = 1024


def write_documents(folder: Path, survivors: Survivors, renames: Renames, shard_bytes: int) -> int:
    """Write the shards of the documents that are left, in input order; bytes of text."""
    total = row = 0
    schema = corpus_schema()
    with ShardWriter(folder, schema, shard_bytes, size_column="text") as writer:
        for task in range(survivors.files.tasks):
            names = renames.of(task)
            for table in survivors.files.batches(task, "kept"):
                for start in range(0, table.num_rows, _PIECE):  # memory for a piece of the texts at a time
                    part = rename(table.slice(start, _PIECE), names).select(schema.names).cast(schema)
                    last = row + part.num_rows
                    part = replace_texts(_without_cuts(part, survivors, row), survivors.edits, row)
                    if survivors.copies is not None:
                        part = mark_copies(part, survivors.copies[row:last])
                    alive = ~survivors.dropped(row, last)
                    writer.write(part.filter(pa.array(alive)))
                    total += int(survivors.sizes[row:last][alive].sum())
                    row = last
    return total


def write_dropped(folder: Path, survivors: Survivors, renames: Renames, config: CorpusConfig) -> None:
    """Write the dropped table: one row for each dropped document, in input order."""
    starts = survivors.files.starts
    with ShardWriter(folder, DROPPED_SCHEMA, config.shard_bytes) as writer:
        for task in range(survivors.files.tasks):
            table = rename(open_table(survivors.files.path(task, "dropped")), renames.of(task))
            more = _global_rows(survivors, int(starts[task]), int(starts[task + 1]), config)
            if more:
                table = pa.concat_tables([table, pa.Table.from_batches([dropped_batch(more)])]).sort_by("position")
            writer.write(table.select(DROPPED_SCHEMA.names).cast(DROPPED_SCHEMA))


def _global_rows(survivors: Survivors, first: int, last: int, config: CorpusConfig) -> list[dict[str, object]]:
    drops = {row: (step, drop) for row, step, drop in duplicate_drops(survivors, first, last, config.dedup)}
    drops |= {int(row): survivors.drops[int(row)] for row in np.flatnonzero(survivors.gone[first:last]) + first}
    where = survivors.table.select(list(WHERE)).take(pa.array(list(drops), pa.int64())).to_pylist()
    places = zip(drops.values(), where, strict=True)
    return [drop_row(step, place["id"], place, drop) for (step, drop), place in places]


def _without_cuts(table: pa.Table, survivors: Survivors, first: int) -> pa.Table:
    """`table`, whose rows are numbered from `first`, without what paragraph and substring removal take out."""
    if survivors.cuts is None:
        return table
    found = survivors.cuts.of(first, first + table.num_rows)
    if not found:
        return table
    texts = table["text"].to_pylist()
    removed: list[int | None] = [None] * len(texts)
    spans: list[list[dict[str, object]] | None] = [None] * len(texts)
    for row, cuts in found.items():
        before = texts[row - first]
        texts[row - first] = without(before, [(start, end) for start, end, _ in cuts])
        removed[row - first] = len(before) - len(texts[row - first])
        spans[row - first] = removed_spans(cuts)
    for name, values in (("text", texts), ("removed_characters", removed), ("removed_spans", spans)):
        table = set_column(table, name, values)
    return table
