"""The `dedup-index` artifact: what later builds compare their documents with.

`documents.arrow` (Arrow IPC) has a row for each document that a build kept: `id`, `url_hash` and `exact_hash` (16
bytes each) and, with near-duplicate removal, `signature` (uint32). About 550 bytes a document by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.base.sorting import release
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.dedup.documents import EXACT, URL, Documents
from millbase.artifacts import create_artifact, open_artifact
from millbase.errors import ArtifactError

KIND = "dedup-index"
_FILE = "documents.arrow"
_ROWS = 4096
_FREE = ("min_similarity",)
"""Fields of MinHashConfig that do not change signatures."""


@dataclass(frozen=True)
class DedupIndex:
    """An opened index."""

    path: Path
    documents: int

    def batches(self) -> Iterable[pa.RecordBatch]:
        """Its rows."""
        with pa.OSFile(str(self.path / _FILE)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def open_indexes(config: DedupConfig) -> list[DedupIndex]:
    """The indexes in `config.against`. Raises ArtifactError when one is damaged or made with other settings."""
    found = []
    for path in config.against:
        manifest = open_artifact(path, kind=KIND)
        made = manifest.config
        differ = [
            f"minhash.{name}={made['minhash'].get(name)!r} (here {value!r})"
            for name, value in config.minhash.to_dict().items()
            if name not in _FREE and made["minhash"].get(name) != value
        ]
        if config.near and not made["near"]:
            differ = ["near=False (here True)"]
        if config.near and differ:
            raise ArtifactError(
                f"index {path!r} was made with {', '.join(differ)}: its signatures cannot be compared; set the same "
                "values here, or make the index again"
            )
        index = DedupIndex(Path(path), int(manifest.stats["documents"]))
        found.append(index)
    return found


def recorded_dedup(config: DedupConfig) -> DedupConfig:
    """`config` without what changes nothing about a corpus: memory, and where the index goes (but not whether)."""
    memory = DedupConfig().memory_bytes
    return config.model_copy(update={"memory_bytes": memory, "index": config.index and "index"})


def load_indexes(indexes: Sequence[DedupIndex], documents: Documents) -> None:
    """Copy hashes and signatures of the indexes into the rows after those of the build."""
    row = documents.count
    for index in indexes:
        for batch in index.batches():
            rows = slice(row, row + batch.num_rows)
            for kind, name in ((URL, "url_hash"), (EXACT, "exact_hash")):
                if kind in documents.hashes:
                    documents.hashes[kind][rows] = binary_rows(batch[name])
            if documents.signatures is not None:
                width = documents.signatures.shape[1]
                documents.signatures[rows] = batch["signature"].flatten().to_numpy().reshape(-1, width)
            row += batch.num_rows
            documents.release()
    assert row == documents.count + documents.indexed, "the manifests of the indexes state their rows"


def write_index(config: DedupConfig, documents: Documents, kept: Iterable[tuple[np.ndarray, pa.Array]]) -> None:
    """Write the index of the documents in `kept`, pairs of their rows and ids, to `config.index`."""
    assert config.index is not None, "only called where an index is wanted"
    fields = [pa.field("id", pa.string(), nullable=False)]
    fields += [pa.field(name, pa.binary(16), nullable=False) for name in ("url_hash", "exact_hash")]
    if documents.signatures is not None:
        fields.append(pa.field("signature", pa.list_(pa.uint32(), documents.signatures.shape[1]), nullable=False))
    schema = pa.schema(fields)
    recorded = DedupConfig(near=config.near, minhash=config.minhash)  # what a later build has to agree with
    with create_artifact(config.index, kind=KIND, config=recorded) as artifact:
        total = 0
        pending: list[pa.RecordBatch] = []
        with pa.ipc.new_file(artifact.path / _FILE, schema) as writer:
            for rows, ids in kept:
                pending.append(_batch(documents, rows, ids, schema))
                total += len(rows)
                if sum(batch.num_rows for batch in pending) >= _ROWS:
                    pending = _write(writer, pending, schema, whole=True)
                documents.release()
            _write(writer, pending, schema, whole=False)
        artifact.stats["documents"] = total


def binary_rows(column: pa.Array) -> np.ndarray:
    """uint8 [N, width] of an array of fixed-size binary values without nulls."""
    width = column.type.byte_width
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return data[column.offset * width : (column.offset + len(column)) * width].reshape(-1, width)


def _batch(documents: Documents, rows: np.ndarray, ids: pa.Array, schema: pa.Schema) -> pa.RecordBatch:
    hashes = [pa.array(list(map(bytes, documents.hashes[kind][rows])), pa.binary(16)) for kind in (URL, EXACT)]
    columns = [ids, *hashes]
    if documents.signatures is not None:
        flat = pa.array(np.ascontiguousarray(documents.signatures[rows]).reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, documents.signatures.shape[1]))
        release(documents.signatures)
    return pa.record_batch(columns, schema=schema)


def _write(writer: Any, pending: list[pa.RecordBatch], schema: pa.Schema, whole: bool) -> list[pa.RecordBatch]:
    """Write in batches of a fixed number of rows, so that the bytes do not depend on how rows came in."""
    table = pa.Table.from_batches(pending, schema)
    end = table.num_rows - table.num_rows % _ROWS if whole else table.num_rows
    for start in range(0, end, _ROWS):
        part = table.take(pa.array(range(start, min(start + _ROWS, end)), pa.int64())).combine_chunks()
        for batch in part.to_batches():
            writer.write_batch(batch)
    return list(table.slice(end).to_batches())
