"""What input files are made of: records, texts, and stretches that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from data_pipeline.base import Drop


@dataclass(frozen=True)
class Record:
    """One record of a WARC or ARC file that holds a page, or the text of one."""

    offset: int
    """First byte in the file as stored; in the uncompressed stream when the file is compressed as one piece."""
    length: int
    """Bytes up to the next record, in the same measure."""
    kind: str
    """`response`, `revisit`, or `conversion` (the plain text of a page, as in WET files)."""
    record_id: str | None
    url: str | None
    date: str | None
    block: bytes
    """HTTP header and body, or the text of a conversion; at most `max_bytes` + 1 bytes."""
    content_type: str | None = None
    """As the record's own header gives it, for conversions."""


@dataclass(frozen=True)
class TextRecord:
    """One document of a file that holds texts: a line, a row, or a whole file. No extraction is needed."""

    offset: int
    """Byte of the uncompressed file where it begins; in Parquet and Arrow files the number of the row."""
    length: int
    """Bytes of the uncompressed file; in Parquet and Arrow files 1."""
    text: str
    record_id: str | None = None
    url: str | None = None
    date: str | None = None
    title: str | None = None
    drop: Drop | None = None
    """Why it is no document, where it is none."""


@dataclass(frozen=True)
class Damage:
    """A stretch of a file that cannot be read."""

    offset: int
    length: int
    reason: str
    """`truncated` (the file ends inside a record) or `damaged`."""
    message: str
    url: str | None = None


Item = Record | TextRecord | Damage


class RecordFile(Protocol):
    """An input file of any format."""

    other_records: int
    """Records passed over because they hold no page."""

    def records(self) -> Iterator[Item]:
        """Every record and every damaged stretch, in file order. Raises InputError when the file is no such file."""


def is_one_file(file: RecordFile) -> bool:
    """Whether the whole file is one document, so that its name alone is an address."""
    return bool(getattr(file, "one_document", False))
