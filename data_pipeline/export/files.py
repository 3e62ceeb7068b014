"""One file of an export: whole or not at all, and the same bytes for the same rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from millbase.atomic import atomic_write

_ROWS = 1024
_LEVEL = 3


def write_parquet(path: Path, table: pa.Table, compression: str, row_group_rows: int) -> None:
    """Write `table` with row groups of `row_group_rows` rows, however it is chunked."""
    with atomic_write(path, "wb") as file:
        with pq.ParquetWriter(file, table.schema, compression=compression, write_page_checksum=True) as writer:
            for start in range(0, table.num_rows, row_group_rows):
                writer.write_table(table.slice(start, row_group_rows), row_group_size=row_group_rows)


def write_jsonl(path: Path, table: pa.Table, compression: str) -> None:
    """Write a JSON object a line, keys in the order of the columns, UTF-8 unescaped; null where there is no value."""
    with atomic_write(path, "wb") as file, _compressed(file, compression) as out:
        for start in range(0, table.num_rows, _ROWS):
            rows = table.slice(start, _ROWS).to_pylist()
            out.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())


@contextmanager
def _compressed(file: IO[bytes], compression: str) -> Iterator[Any]:
    if compression == "gzip":
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as out:  # no name and no clock in the header
            yield out
    elif compression == "zstd":
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        with compressor.stream_writer(file, closefd=False) as out:
            yield out
    else:
        yield file
