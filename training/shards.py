"""Token shards read where they lie: Arrow IPC files mapped into memory, token values viewed without a copy.

A `tokens` artifact holds `train/*.arrow` and `heldout/*.arrow`, each row one document: `id`, `source`, `bytes` and
`tokens` (a list of unsigned integers that ends with the end-of-document token).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millbase.errors import InputError

COLUMNS = ("id", "source", "bytes", "tokens")


@dataclass(frozen=True)
class _Batch:
    """One Arrow record batch: its table columns and a view of its token values."""

    columns: pa.RecordBatch
    values: np.ndarray
    """All token values of the batch, `[tokens]`, a view of the mapped file."""


class TokenShards:
    """Random access to the documents of one split.

    Documents are numbered from 0 in the order of the sorted file names and the rows within them. Holds 16 bytes of
    index for a document; token values stay in the mapped files.
    """

    def __init__(self, directory: str | Path) -> None:
        """Map every shard under `directory`; InputError when there is none or a column is missing or mistyped."""
        self.directory = Path(directory)
        self._batches: list[_Batch] = []
        starts: list[np.ndarray] = []
        lengths: list[np.ndarray] = []
        files = sorted(self.directory.glob("*.arrow"))
        for file in files:
            for batch in self._open(file):
                offsets, values = _list_buffers(batch.column("tokens"), file)
                self._batches.append(_Batch(batch, values))
                starts.append(offsets[:-1])
                lengths.append(np.diff(offsets))
        if not files:
            raise InputError(f"{self.directory}: no .arrow token shards; build the tokens artifact again")
        self._first = np.cumsum([0] + [len(s) for s in starts])
        self._starts = np.concatenate(starts) if starts else np.empty(0, np.int64)
        self.lengths: np.ndarray = np.concatenate(lengths) if lengths else np.empty(0, np.int64)
        """Tokens of each document, `[documents]`, int64."""

    @staticmethod
    def _open(file: Path) -> list[pa.RecordBatch]:
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(file), "r"))
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{file}: not a readable Arrow file ({error}); build the tokens artifact again") from None
        missing = [name for name in COLUMNS if name not in reader.schema.names]
        if missing:
            raise InputError(f"{file}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
        return [reader.get_batch(i) for i in range(reader.num_record_batches)]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def total_tokens(self) -> int:
        """Tokens of all documents."""
        return int(self.lengths.sum())

    def tokens(self, document: int) -> np.ndarray:
        """Token values of one document, `[tokens]`: a read-only view of the mapped file."""
        batch, _ = self._locate(document)
        start = self._starts[document]
        return batch.values[start : start + self.lengths[document]]

    def largest_token(self) -> int:
        """The largest token id of all documents, -1 without any; reads every value once."""
        return max((int(batch.values.max()) for batch in self._batches if len(batch.values)), default=-1)

    def id(self, document: int) -> str:
        """Id of one document."""
        batch, row = self._locate(document)
        return str(batch.columns.column("id")[row].as_py())

    def source(self, document: int) -> str:
        """Source of one document."""
        batch, row = self._locate(document)
        return str(batch.columns.column("source")[row].as_py())

    def with_source(self, source: str) -> np.ndarray:
        """Numbers of the documents whose column `source` says `source`, ascending, `[documents]` int64."""
        found = [
            first + np.flatnonzero(pc.equal(batch.columns.column("source"), source).to_numpy(zero_copy_only=False))
            for first, batch in zip(self._first, self._batches, strict=False)
        ]
        return np.concatenate(found).astype(np.int64) if found else np.empty(0, np.int64)

    def sources(self) -> list[str]:
        """The values of column `source`, sorted."""
        return sorted({str(v) for batch in self._batches for v in batch.columns.column("source").unique().to_pylist()})

    def find(self, id_: str) -> int:
        """Number of the document with this id; InputError when there is none."""
        for first, batch in zip(self._first, self._batches, strict=False):
            row = pc.index(batch.columns.column("id"), id_).as_py()
            if row >= 0:
                return int(first) + int(row)
        raise InputError(f"{self.directory}: no document {id_!r}")

    def text_bytes(self, document: int) -> int:
        """UTF-8 bytes of the text of one document."""
        batch, row = self._locate(document)
        return int(batch.columns.column("bytes")[row].as_py())

    def _locate(self, document: int) -> tuple[_Batch, int]:
        index = int(np.searchsorted(self._first, document, side="right")) - 1
        return self._batches[index], document - int(self._first[index])


def _list_buffers(column: pa.Array, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """(offsets `[rows + 1]` int64, values `[tokens]`) of a list column, both without copying the values."""
    if not (pa.types.is_large_list(column.type) or pa.types.is_list(column.type)):
        raise InputError(f"{file}: column tokens is {column.type}, expected a list of unsigned integers")
    if not pa.types.is_unsigned_integer(column.type.value_type) or column.null_count:
        raise InputError(f"{file}: column tokens is {column.type} (or has nulls), expected a list of unsigned integers")
    offsets = column.offsets.to_numpy(zero_copy_only=True).astype(np.int64, copy=False)
    return offsets, column.values.to_numpy(zero_copy_only=True)
