"""Raw rows of a data file, whatever its format, each with its line number; and the account of rows that cannot be used.

JSONL (`.jsonl`, `.ndjson`), JSON (`.json`, one array), Parquet (`.parquet`) and Arrow IPC (`.arrow`, file or stream
format); the JSON ones also compressed as `.gz` or `.zst`. Paths go through fsspec.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from millbase.errors import InputError, StageError
from millbase.files import open_file

FORMATS = (".jsonl", ".ndjson", ".json", ".parquet", ".arrow")
_COMPRESSIONS = (".gz", ".zst")


class RowError(Exception):
    """One row that cannot be used. `reason` is short and counted; `detail` says what is wrong in this row."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass
class Tally:
    """How many rows were read, kept and skipped, with the first skipped row as an example.

    `expected` says in one phrase what a row should look like.
    """

    expected: str
    read: int = 0
    kept: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    first: str = ""
    """The first skipped row: `file:line: reason`."""

    def skip(self, error: RowError, where: str) -> None:
        """Count one skipped row (or one skipped pair of a ranked row)."""
        self.skipped[error.reason] += 1
        self.first = self.first or f"{where}: {error}"

    def check(self, max_bad_share: float) -> None:
        """Raise StageError when more than `max_bad_share` of the rows were skipped, or none is left."""
        bad = self.skipped.total()
        total = self.kept + bad
        if bad > max_bad_share * total:
            raise StageError(
                f"{bad} of {total} rows cannot be used, more than max_bad_share={max_bad_share:g} allows; "
                f"first {self.first}; expected {self.expected}; mend the file or raise max_bad_share"
            )
        if not self.kept:
            raise InputError(f"no rows to use in the data given ({self.read} read); expected {self.expected}")

    def to_dict(self) -> dict[str, Any]:
        """JSON values for an artifact's statistics."""
        return {"read": self.read, "kept": self.kept, "skipped": dict(sorted(self.skipped.items()))}


def read_rows(path: str) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """Yield `(line, row)` for every row of a file, lines counted from 1; a line that does not parse gives its RowError.

    Raises InputError when the format is unknown or the file as a whole is damaged (cut compression, not Parquet).
    """
    suffix = _format(path)
    try:
        if suffix in (".jsonl", ".ndjson"):
            yield from _read_lines(path)
        elif suffix == ".json":
            yield from _read_array(path)
        else:
            yield from _read_table(path, suffix)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path}: damaged file ({error}); fetch it again") from None


def _format(path: str) -> str:
    name = PurePosixPath(path)
    if name.suffix in _COMPRESSIONS:
        name = name.with_suffix("")
    if name.suffix not in FORMATS:
        raise InputError(f"{path}: unknown data format {name.suffix!r}; expected one of {', '.join(FORMATS)}")
    return name.suffix


def _read_lines(path: str) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    # Bytes, not text: one line of broken UTF-8 then costs that line and not the file.
    with open_file(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, _as_row(json.loads(line))
            except (ValueError, RecursionError) as error:
                yield number, RowError("not JSON", str(error))
            except RowError as error:
                yield number, error


def _read_array(path: str) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    with open_file(path, "rb") as file:
        try:
            items = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not JSON ({error}); one object per line needs the name *.jsonl") from None
    if not isinstance(items, list):
        raise InputError(f"{path}: expected a JSON array of objects, found {type(items).__name__}")
    for number, item in enumerate(items, start=1):
        try:
            yield number, _as_row(item)
        except RowError as error:
            yield number, error


def _as_row(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowError("not an object", f"found {type(value).__name__}")
    return value


def _read_table(path: str, suffix: str) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with open_file(path, "rb") as file:
        try:
            batches = pq.ParquetFile(file).iter_batches() if suffix == ".parquet" else _arrow_batches(file)
            for batch in batches:
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: not a readable {suffix[1:]} file ({reason}); write it again") from None


def _arrow_batches(file: Any) -> Iterator[Any]:
    import pyarrow as pa

    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from pa.ipc.open_stream(file)
