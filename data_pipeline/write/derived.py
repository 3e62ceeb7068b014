"""Corpora made from finished corpora: some of their documents, perhaps changed, with the reason for each that is gone.

Such a corpus counts as read what its inputs held; what was dropped before stands in the inputs, which its manifest
names.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.base import Drop
from data_pipeline.texts import corpus_files
from data_pipeline.write.columns import EditLike, mark_copies, replace_texts
from data_pipeline.write.schema import DROPPED_SCHEMA, corpus_schema
from data_pipeline.write.shards import ShardWriter
from millbase.artifacts import Manifest, OpenArtifact
from millbase.atomic import write_json
from millbase.errors import ArtifactError, InputError

_WHERE = ("id", "url", "source", "warc_file", "warc_offset", "warc_length")
_PIECE = 1024


@dataclass(frozen=True)
class CorpusInput:
    """A finished corpus that another is made from."""

    manifest: Manifest
    source: str | None = None
    """What its documents' `source` is from now on; null leaves it."""

    @property
    def warc_root(self) -> str:
        """The folder that its `warc_file` names are relative to."""
        return str(self.manifest.stats.get("warc_root", ""))


class Documents:
    """The N documents of several corpora, numbered through; memory-mapped."""

    def __init__(self, inputs: list[CorpusInput]) -> None:
        self.inputs = inputs
        self.files = [(entry, file) for entry in inputs for file in corpus_files(entry.manifest)]
        self.starts = np.cumsum([0, *(open_table(file).num_rows for _, file in self.files)])
        """int64 [files + 1] number of the first document of each file, and the number of all."""
        self.root = common_root([entry.warc_root for entry in inputs])
        if not len(self):
            names = ", ".join(repr(str(entry.manifest.path)) for entry in inputs)
            raise InputError(f"corpus {names} holds no documents; see its funnel.json for what dropped them")
        self._renames = self._find_renames()

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def renamed(self) -> int:
        """Documents whose id another one had before them."""
        return len(self._renames)

    def tables(self, names: list[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """Number of the first document, and the table, of each shard: all columns of the corpus, or those in
        `names`."""
        for start, (entry, file) in zip(self.starts[:-1].tolist(), self.files, strict=True):
            table = as_corpus(open_table(file), str(file))
            yield start, self._adopt(table, entry, start).select(names or table.schema.names)

    def text(self, number: int) -> str:
        """The text of one document."""
        shard = int(np.searchsorted(self.starts, number, side="right")) - 1
        return str(open_table(self.files[shard][1])["text"][number - int(self.starts[shard])].as_py())

    def _adopt(self, table: pa.Table, entry: CorpusInput, start: int) -> pa.Table:
        """`table` with the source, the WARC names and the ids that it has in the new corpus."""
        if entry.source is not None:
            table = _replace(table, "source", pa.array([entry.source] * table.num_rows, pa.string()))
        inner = entry.warc_root.removeprefix(self.root)
        if inner:
            table = _replace(table, "warc_file", pc.binary_join_element_wise(inner, table["warc_file"], ""))
        here = {row: self._renames[row] for row in range(start, start + table.num_rows) if row in self._renames}
        if here:
            ids = table["id"].to_pylist()
            for row, name in here.items():
                ids[row - start] = name
            table = _replace(table, "id", pa.array(ids, pa.string()))
        return table

    def _find_renames(self) -> dict[int, str]:
        """number -> new id of every document whose id came before: #2, #3, ... appended, as a corpus build does."""
        if len(self.inputs) == 1:
            return {}
        seen: Counter[str] = Counter()
        renames = {}
        for start, (_, file) in zip(self.starts[:-1].tolist(), self.files, strict=True):
            for row, name in enumerate(open_table(file)["id"].to_pylist(), start):
                seen[name] += 1
                if seen[name] > 1:
                    renames[row] = f"{name}#{seen[name]}"
        return renames


@dataclass
class Changes:
    """What becomes of N documents."""

    step: str
    """Name of the step that drops documents."""
    drops: dict[int, Drop] = field(default_factory=dict)
    edits: Mapping[int, EditLike] = field(default_factory=dict)
    copies: np.ndarray | None = None
    """int32 [N]; null leaves the column as it was."""


def write_derived(
    artifact: OpenArtifact, documents: Documents, changes: Changes, shard_bytes: int, seconds: float
) -> None:
    """Write `data`, `dropped`, `funnel.json` and `timings.json` of a corpus into `artifact`, and its statistics.

    Raises InputError when no document is left.
    """
    for name in ("data", "dropped"):
        shutil.rmtree(artifact.path / name, ignore_errors=True)  # half-written by a killed run
    keep = np.ones(len(documents), dtype=bool)
    keep[list(changes.drops)] = False
    if not keep.any():
        first = next(iter(changes.drops.values()))
        raise InputError(f"step {changes.step!r} drops all {len(documents)} documents, the first for {first.reason!r}")
    text_bytes = 0
    with ShardWriter(artifact.path / "data", corpus_schema(), shard_bytes, size_column="text") as writer:
        for start, table in documents.tables():
            for offset in range(0, table.num_rows, _PIECE):
                piece = slice(start + offset, min(start + offset + _PIECE, start + table.num_rows))
                part = replace_texts(table.slice(offset, _PIECE), changes.edits, piece.start)
                if changes.copies is not None:
                    part = mark_copies(part, changes.copies[piece])
                part = part.filter(pa.array(keep[piece]))
                text_bytes += pc.sum(pc.binary_length(part["text"])).as_py() or 0
                writer.write(part)
    _write_dropped(artifact.path / "dropped", documents, changes, shard_bytes)
    _write_funnel(artifact.path, len(documents), changes, seconds)
    dropped = len(changes.drops)
    artifact.stats.update(
        warc_root=documents.root, read=len(documents), documents=len(documents) - dropped, dropped=dropped,
        text_bytes=text_bytes,
    )  # fmt: skip


def _write_dropped(folder: Path, documents: Documents, changes: Changes, shard_bytes: int) -> None:
    with ShardWriter(folder, DROPPED_SCHEMA, shard_bytes) as writer:
        for start, table in documents.tables(list(_WHERE)):
            rows = [row for row in range(start, start + table.num_rows) if row in changes.drops]
            places = table.take(pa.array([row - start for row in rows], pa.int64())).to_pylist()
            made = [_dropped_row(changes, row, place) for row, place in zip(rows, places, strict=True)]
            writer.write(pa.Table.from_pylist(made, DROPPED_SCHEMA))


def _dropped_row(changes: Changes, row: int, place: dict[str, Any]) -> dict[str, Any]:
    drop = changes.drops[row]
    why = {"reason": drop.reason, "value": drop.value, "threshold": drop.threshold, "detail": drop.detail}
    return {**place, "step": changes.step, **why}


def _write_funnel(folder: Path, read: int, changes: Changes, seconds: float) -> None:
    counts = Counter(drop.reason for drop in changes.drops.values())
    reasons = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    kept = read - counts.total()
    rows = [
        {"step": "read", "read": read, "dropped": 0, "kept": read, "reasons": {}},
        {"step": changes.step, "read": read, "dropped": read - kept, "kept": kept, "reasons": reasons},
    ]
    write_json(folder / "funnel.json", rows)
    write_json(folder / "timings.json", {"read": 0.0, changes.step: round(seconds, 3)})


def as_corpus(table: pa.Table, file: str) -> pa.Table:
    """`table` of a corpus with today's columns; those that it was built without are null.

    Raises ArtifactError when one is missing that must have values.
    """
    schema = corpus_schema()
    for position, wanted in enumerate(schema):
        if wanted.name not in table.schema.names:
            if not wanted.nullable:
                raise ArtifactError(f"{file!r} has no column {wanted.name!r}; build the corpus again")
            table = table.add_column(min(position, table.num_columns), wanted, pa.nulls(table.num_rows, wanted.type))
    return table.select(schema.names).cast(schema)


def common_root(roots: list[str]) -> str:
    """The longest common folder of folders that end in a slash; "" where there is none."""
    parts = [root.split("/")[:-1] for root in roots]
    common = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        common.append(f"{level[0]}/")
    return "".join(common)


def open_table(file: Path) -> pa.Table:
    """An Arrow file, memory-mapped."""
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _replace(table: pa.Table, name: str, values: Any) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), values)
