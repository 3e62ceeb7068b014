"""The documents that all tasks kept, as the global steps see them: columns in files, texts read when needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.base.drops import Drop
from data_pipeline.base.sorting import Sorter, Space, pack
from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.corpus.ids import Renames, rename
from data_pipeline.decontaminate import Edit
from data_pipeline.dedup.cuts import Cuts
from data_pipeline.dedup.documents import EXACT, URL, Documents, assign_ranks, preference, preference_width
from data_pipeline.dedup.index import DedupIndex, binary_rows, load_indexes
from data_pipeline.write.columns import float_column, string_column

WHERE = ("id", "url", "source", "warc_file", "warc_offset", "warc_length", "position")


class TaskFiles:
    """The files that tasks left. Documents are numbered through, in the order of tasks."""

    def __init__(self, folder: Path, tasks: int) -> None:
        self.folder, self.tasks = folder, tasks
        counts = [open_table(self.path(task, "kept")).num_rows for task in range(tasks)]
        self.starts = np.cumsum([0, *counts])
        self._open: tuple[int, pa.ChunkedArray] | None = None

    def path(self, task: int, kind: str) -> Path:
        """File of a task: `kept` or `dropped`."""
        return self.folder / f"{task:05d}.{kind}.arrow"

    def batches(self, task: int, kind: str) -> Iterator[pa.Table]:
        """The rows of a task's file, a batch at a time; memory is given back in between."""
        with pa.memory_map(str(self.path(task, kind))) as file:
            count = pa.ipc.open_file(file).num_record_batches
        for number in range(count):
            with pa.memory_map(str(self.path(task, kind))) as file:
                yield pa.Table.from_batches([pa.ipc.open_file(file).get_batch(number)])

    def text(self, row: int) -> str:
        """The text of one document as its task left it. Rows in order are read fastest."""
        task = int(np.searchsorted(self.starts, row, side="right")) - 1
        if self._open is None or self._open[0] != task:
            self._open = (task, open_table(self.path(task, "kept"))["text"])
        return str(self._open[1][row - int(self.starts[task])].as_py())


@dataclass
class Survivors:
    """N documents and what became of them."""

    files: TaskFiles
    table: pa.Table
    """Columns id (final), url, source, place in the input, and what decontamination and mixture need; on disk."""
    sizes: np.ndarray
    """int64 [N] bytes of each text, as far as it is left."""
    documents: Documents
    """For duplicate removal, which notes its drops there."""
    gone: np.ndarray
    """bool [N] documents in `drops`."""
    indexed_ids: pa.ChunkedArray
    """Ids of the documents of earlier builds."""
    drops: dict[int, tuple[str, Drop]] = field(default_factory=dict)
    """row -> step and reason, of the steps after duplicate removal."""
    cuts: Cuts | None = None
    """What paragraph and substring removal take out of texts."""
    edits: dict[int, Edit] = field(default_factory=dict)
    """row -> what decontamination leaves of a text."""
    copies: np.ndarray | None = None
    """int32 [N] how often training reads each document; null without a mixture."""
    seconds: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.documents.count

    def dropped(self, first: int, last: int) -> np.ndarray:
        """bool [last - first]: which of these rows some global step has dropped so far."""
        return np.asarray((self.documents.step[first:last] != 0) | self.gone[first:last])

    def alive(self) -> np.ndarray:
        """int64 rows that no global step has dropped so far."""
        return np.flatnonzero(~self.dropped(0, len(self)))

    def pieces(self, rows: int = 1 << 16) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, int64 rows that are alive) for each piece of so many rows."""
        for first in range(0, len(self), rows):
            yield first, np.flatnonzero(~self.dropped(first, min(first + rows, len(self)))) + first

    def drop(self, drops: Mapping[int, tuple[str, Drop]]) -> None:
        """Note what a step after duplicate removal drops."""
        self.drops.update(drops)
        self.gone[list(drops)] = True

    def text(self, row: int) -> str:
        """The text of a document without what duplicate removal took out of it."""
        text = self.files.text(row)
        return text if self.cuts is None else self.cuts.text(row, text)


def load_survivors(
    files: TaskFiles, renames: Renames, config: CorpusConfig, indexes: list[DedupIndex], space: Space
) -> Survivors:
    """Copy what the global steps need of every task's kept documents into files of `space`."""
    count = int(files.starts[-1])
    documents = Documents.make(count, sum(index.documents for index in indexes), config.dedup, space)
    sizes = space.array("sizes.i64", np.int64, (count,))
    preferences = space.sorter(preference_width(config.dedup) + 8)
    assert space.folder is not None, "a build has a work directory"
    space.folder.mkdir(parents=True, exist_ok=True)
    path = space.folder / "survivors.arrow"
    writer = None
    row = 0
    for task in range(files.tasks):
        names = renames.of(task)
        for table in files.batches(task, "kept"):
            table = rename(table, names)
            sizes[row : row + table.num_rows] = pc.binary_length(table["text"]).to_numpy()
            _note(table, row, documents, preferences, config)
            light = _light(table, config)
            writer = writer or pa.ipc.new_file(str(path), light.schema)
            writer.write_table(light)
            row += table.num_rows
            documents.release()
    if writer is not None:
        writer.close()
    assign_ranks(documents, preferences)
    preferences.close()
    load_indexes(indexes, documents)
    light = open_table(path) if writer is not None else pa.table({name: [] for name in WHERE})
    gone = space.array("gone.bool", bool, (count,))
    tables = [open_table(index.path / "documents.arrow").select(["id"]) for index in indexes]
    ids = pa.concat_tables(tables)["id"] if tables else pa.chunked_array([], pa.string())
    return Survivors(files, light, sizes, documents, gone, ids)


def _note(table: pa.Table, row: int, documents: Documents, preferences: Sorter, config: CorpusConfig) -> None:
    rows = slice(row, row + table.num_rows)
    for kind, name in ((URL, "url_hash"), (EXACT, "exact_hash")):
        if kind in documents.hashes:
            documents.hashes[kind][rows] = binary_rows(table[name].combine_chunks())
    if documents.signatures is not None:
        flat = table["signature"].combine_chunks().flatten().to_numpy()
        documents.signatures[rows] = flat.reshape(-1, documents.signatures.shape[1])
    quality = pc.fill_null(pc.struct_field(table["quality"], "score").cast(pa.float64()), -1.0).to_numpy()
    characters = pc.utf8_length(table["text"]).to_numpy().astype(np.int64)
    dates = table["date"].to_pylist() if config.dedup.keep in ("oldest", "newest") else []
    best = preference(table["id"].to_pylist(), characters, quality, dates, config.dedup)
    preferences.add(pack(best, np.arange(rows.start, rows.stop)))


def _light(table: pa.Table, config: CorpusConfig) -> pa.Table:
    mixture = config.full_mixture
    light = table.select([*WHERE, *(name for name in ("contamination",) if name in table.column_names)])
    light = light.append_column("mixed", string_column(table, mixture.column))
    if mixture.quality.buckets:
        light = light.append_column("mixture_score", float_column(table, mixture.quality.column))
    return light


def open_table(path: Path) -> pa.Table:
    """A memory-mapped Arrow file."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
