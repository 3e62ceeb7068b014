"""Streaming over the tables of a corpus: a batch in memory at a time, only the columns asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millbase.errors import ArtifactError


def shard_files(folder: Path) -> list[Path]:
    """The Arrow files of `folder` in order."""
    return sorted(folder.glob("*.arrow"))


def read_batches(folder: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of all shards of `folder`; `columns` that do not exist are left out."""
    for file in shard_files(folder):
        for index in range(_open(file).num_record_batches):
            yield read_batch(file, index, columns)


def read_batch(file: Path, index: int, columns: Sequence[str] | None = None) -> pa.RecordBatch:
    """Batch `index` of one shard."""
    reader = _open(file)
    if columns is not None:
        names = reader.schema.names
        fields = sorted(names.index(name) for name in columns if name in names)
        reader = _open(file, pa.ipc.IpcReadOptions(included_fields=fields))
    try:
        return reader.get_batch(index)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(_damaged(file, error)) from None


def schema_of(folder: Path) -> pa.Schema:
    """Columns of the shards of `folder`."""
    return _open(shard_files(folder)[0]).schema


def find_rows(folder: Path, column: str, values: Sequence[str]) -> Iterator[dict[str, object]]:
    """Rows whose `column` is one of `values`, without their texts, in order."""
    wanted = pa.array(sorted(set(values)), pa.string())
    names = [name for name in schema_of(folder).names if name != "text"]
    for file in shard_files(folder):
        for index in range(_open(file).num_record_batches):
            # one column first: most batches hold nothing
            mask = pc.is_in(read_batch(file, index, [column])[column], wanted)
            if pc.any(mask).as_py():
                yield from read_batch(file, index, names).filter(mask).to_pylist()


def _open(file: Path, options: pa.ipc.IpcReadOptions | None = None) -> pa.ipc.RecordBatchFileReader:
    try:
        return pa.ipc.open_file(pa.memory_map(str(file)), options=options)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(_damaged(file, error)) from None


def _damaged(file: Path, error: Exception) -> str:
    return f"{str(file)!r} cannot be read ({str(error).splitlines()[0]}); build the corpus again"
