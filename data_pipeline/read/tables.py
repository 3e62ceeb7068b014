"""Documents of Parquet and Arrow files, a row each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.fetch import FetchConfig, open_input
from data_pipeline.read.config import ColumnsConfig
from data_pipeline.read.items import Damage, TextRecord
from data_pipeline.read.texts import row_record
from millbase.config import suggest
from millbase.errors import InputError

_ROWS = 64


class TableFile:
    """A Parquet file, or an Arrow IPC file or stream. Only the configured columns are read."""

    def __init__(
        self, path: str, max_bytes: int, columns: ColumnsConfig, kind: str, fetch: FetchConfig | None = None
    ) -> None:
        self.path, self.max_bytes, self.columns, self.kind = path, max_bytes, columns, kind
        self.fetch = fetch or FetchConfig()
        self.other_records = 0

    def records(self) -> Iterator[TextRecord | Damage]:
        """Every row, in file order. Raises InputError when it is no such file or has no text column."""
        with open_input(self.path, self.fetch) as file:
            row = 0
            rows: int | None = None
            try:
                rows, batches = self._batches(file)
                for batch in batches:
                    for values in batch.to_pylist():
                        yield row_record(values, row, 1, self.columns, self.max_bytes)
                        row += 1
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                message = " ".join(str(error).split())[:200]
                if rows is None:
                    raise InputError(
                        f"{self.path!r} is not a {self.kind} file ({message}); it is damaged or misnamed: fetch it "
                        "again, or set the source's format"
                    ) from None
                yield Damage(row, max(rows - row, 0), "damaged", message)

    def _batches(self, file: IO[bytes]) -> tuple[int, Iterator[Any]]:
        """Number of rows (0 when not known before the end) and record batches."""
        stream = pa.PythonFile(file, mode="r")
        if self.kind == "parquet":
            parquet = pq.ParquetFile(stream, page_checksum_verification=True)
            names = self._names(parquet.schema_arrow.names)
            groups = (  # one by one: a damaged group must not take rows before it along
                parquet.iter_batches(batch_size=_ROWS, row_groups=[group], columns=names, use_threads=False)
                for group in range(parquet.num_row_groups)
            )
            return parquet.metadata.num_rows, itertools.chain.from_iterable(groups)
        try:
            reader = pa.ipc.open_file(stream)
        except pa.ArrowInvalid:
            file.seek(0)
            pieces = pa.ipc.open_stream(stream)
            names = self._names(pieces.schema.names)
            return 0, (part for batch in pieces for part in _slices(batch.select(names)))
        names = self._names(reader.schema.names)
        batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
        return 0, (part for batch in batches for part in _slices(batch.select(names)))

    def _names(self, present: list[str]) -> list[str]:
        """Top-level columns that are needed. Raises InputError when there is none for the text."""
        wanted = self.columns
        needed = [wanted.text, wanted.id, wanted.url, wanted.date, wanted.title]
        roots = {name if name in present else name.split(".")[0] for name in needed if name is not None}
        root = wanted.text if wanted.text in present else wanted.text.split(".")[0]
        if root not in present:
            raise InputError(
                f"{self.path!r} has no column {wanted.text!r}{suggest(wanted.text, present)}; "
                "set the source's columns.text"
            )
        return [name for name in present if name in roots]


def _slices(batch: Any) -> Iterator[Any]:
    for start in range(0, batch.num_rows, _ROWS):
        yield batch.slice(start, _ROWS)
