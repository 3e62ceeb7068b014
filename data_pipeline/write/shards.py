"""Arrow IPC shards of about equal size, written in the order in which rows come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ROWS = 1024


class ShardWriter(AbstractContextManager["ShardWriter"]):
    """Writes `00000.arrow`, `00001.arrow`, ... (Arrow IPC file format, uncompressed) into `folder`.

    A new shard begins before the row that would take the text of the current one past `shard_bytes`; bounds depend on
    the rows alone, not on how they are batched on the way in. At least one shard is written.
    """

    def __init__(self, folder: Path, schema: pa.Schema, shard_bytes: int, size_column: str | None = None) -> None:
        folder.mkdir(parents=True)
        self.folder, self.schema, self.shard_bytes, self.size_column = folder, schema, shard_bytes, size_column
        self.rows = self.shards = 0
        self._filled = 0
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Append the rows of `table`, whose columns must be those of the schema."""
        for start, stop, closes in self._pieces(table):
            if stop > start:
                self._append(table.slice(start, stop - start))
            if closes:
                self._close()

    def _pieces(self, table: pa.Table) -> Iterator[tuple[int, int, bool]]:
        ends = np.cumsum(self._sizes(table))  # bytes of the table up to and with each row
        start = taken = 0
        while True:
            stop = int(np.searchsorted(ends, taken + self.shard_bytes - self._filled, side="right"))
            if self._filled + (int(ends[stop - 1]) if stop else 0) == taken:
                stop += 1  # nothing stands in the shard yet: a row larger than a shard gets its own
            if stop >= table.num_rows:
                break
            yield start, stop, True
            start, taken, self._filled = stop, int(ends[stop - 1]) if stop else 0, 0
        self._filled += int(ends[-1]) - taken if len(ends) else 0
        yield start, table.num_rows, False

    def _sizes(self, table: pa.Table) -> np.ndarray:
        if self.size_column is None:
            return np.full(table.num_rows, 256)  # rows of short strings
        return np.asarray(pc.binary_length(table[self.size_column]).to_numpy(), dtype=np.int64)

    def _append(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        self._pending += table.to_batches()
        self._pending_rows += table.num_rows
        if self._pending_rows >= _ROWS:
            self._flush(whole_batches=True)

    def _flush(self, whole_batches: bool) -> None:
        """Write what is pending in batches of a fixed number of rows: the bytes do not depend on how rows came in."""
        table = pa.Table.from_batches(self._pending, self.schema).combine_chunks()
        end = table.num_rows - table.num_rows % _ROWS if whole_batches else table.num_rows
        for start in range(0, end, _ROWS):
            # `take` copies: a slice would bring along the layout of the batch it was cut from
            part = table.take(pa.array(np.arange(start, min(start + _ROWS, end)))).combine_chunks()
            for batch in part.to_batches():
                self._file().write_batch(batch)
        rest = table.slice(end)
        self._pending, self._pending_rows = rest.to_batches(), rest.num_rows

    def _file(self) -> Any:
        if self._writer is None:
            self._writer = pa.ipc.new_file(self.folder / f"{self.shards:05d}.arrow", self.schema)
            self.shards += 1
        return self._writer

    def _close(self) -> None:
        self._flush(whole_batches=False)
        self._file()
        self._writer.close()
        self._writer = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self._pending_rows or self._writer is not None or self.shards == 0):
            self._close()
        elif self._writer is not None:
            self._writer.close()
