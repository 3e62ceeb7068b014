"""Writing token shards: where record batches and files end depends on the documents alone."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipeline.tokens.runs import take_rows, tokens_schema


class ShardWriter:
    """Writes documents in the order given to `folder`/shard-00000.arrow and on; use as a context manager."""

    def __init__(self, folder: Path, dtype: np.dtype, vocabulary: int, batch_tokens: int, shard_tokens: int) -> None:
        self._folder = folder
        self._schema = tokens_schema(dtype)
        self._batch_tokens, self._shard_tokens = batch_tokens, shard_tokens
        self._pending = self._schema.empty_table()
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self._in_shard = 0
        self.shards = 0
        self.documents = 0
        self.tokens = 0
        self.bytes = 0
        self.counts = np.zeros(vocabulary, dtype=np.int64)
        """How often each token id was written."""

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush(everything=True)
        self._close()

    def write(self, documents: pa.Table) -> None:
        """Append documents; columns beyond those of the shards are left out."""
        self._pending = pa.concat_tables([self._pending, documents.select(self._schema.names)])
        self._flush(everything=False)

    def _flush(self, everything: bool) -> None:
        """Write all full batches that are pending, or everything."""
        table = self._pending.combine_chunks()
        lengths = table["tokens"].combine_chunks().value_lengths().to_numpy() if len(table) else np.empty(0, np.int64)
        ends = np.cumsum(lengths)
        start = 0
        while start < len(ends):
            before = int(ends[start - 1]) if start else 0
            stop = int(np.searchsorted(ends, before + self._batch_tokens)) + 1
            if stop > len(ends):
                if not everything:
                    break
                stop = len(ends)
            self._write_batch(table.slice(start, stop - start))
            start = stop
        self._pending = table.slice(start)

    def _write_batch(self, table: pa.Table) -> None:
        # Copied into fresh buffers: a slice would drag offsets and padding of its parent along into the file.
        batch = take_rows(table, np.arange(len(table))).combine_chunks().to_batches()[0]
        values = batch["tokens"].flatten().to_numpy()
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = pa.ipc.new_file(str(self._folder / f"shard-{self.shards:05d}.arrow"), self._schema)
            self.shards += 1
            self._in_shard = 0
        self._writer.write_batch(batch)
        self.counts += np.bincount(values, minlength=len(self.counts))
        self.documents += batch.num_rows
        self.tokens += len(values)
        self.bytes += int(batch["bytes"].to_numpy().sum())
        self._in_shard += len(values)
        if self._in_shard >= self._shard_tokens:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
