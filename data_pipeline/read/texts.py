"""Documents of JSON Lines and plain text files, compressed or not."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any, Literal

from data_pipeline.base import Drop
from data_pipeline.fetch import FetchConfig, open_input
from data_pipeline.read.charset import decode_html
from data_pipeline.read.config import ColumnsConfig
from data_pipeline.read.decompress import STREAM_ERRORS, decompressed, was_cut
from data_pipeline.read.items import Damage, TextRecord
from millbase.errors import InputError

_SKIP = 1 << 20
_GIVE_UP_LINES = 1000
"""So many lines without text at the beginning of a file are no accident."""


class JsonLinesFile:
    """A JSON object a line. Lines that are none, or hold no text, are dropped; blank lines are passed over."""

    def __init__(self, path: str, max_bytes: int, columns: ColumnsConfig, fetch: FetchConfig | None = None) -> None:
        self.path, self.max_bytes, self.columns = path, max_bytes, columns
        self.fetch = fetch or FetchConfig()
        self.other_records = 0

    def records(self) -> Iterator[TextRecord | Damage]:
        """Every line, in file order. Raises InputError when no line holds a text under the configured key."""
        texts = failures = 0
        for offset, length, line in _lines(self.path, self.fetch, self.max_bytes):
            if isinstance(line, Damage):
                yield line
                continue
            record = self._record(offset, length, line)
            if record.drop is None or record.drop.reason not in ("bad_json", "no_text"):
                texts += 1
            else:
                failures += 1
                if failures == 1:
                    first = record
                if failures == _GIVE_UP_LINES and not texts:
                    break
            yield record
        if failures and not texts:
            raise InputError(
                f"{self.path!r} holds no text under {self.columns.text!r} in any of its first {failures} lines (at "
                f"offset {first.offset}: {first.drop and first.drop.detail}); set the source's columns.text, or format"
            )

    def _record(self, offset: int, length: int, line: bytes) -> TextRecord:
        if length > self.max_bytes:
            return TextRecord(offset, length, "", drop=Drop("too_large", float(length), float(self.max_bytes)))
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            return TextRecord(offset, length, "", drop=Drop("bad_json", detail=" ".join(str(error).split())[:200]))
        return row_record(row, offset, length, self.columns, self.max_bytes)


class PlainTextFile:
    """A text file: one document, or one a line. The charset is found as for pages."""

    def __init__(
        self, path: str, max_bytes: int, per: Literal["file", "line"] = "file", fetch: FetchConfig | None = None
    ) -> None:
        self.path, self.max_bytes, self.per = path, max_bytes, per
        self.fetch = fetch or FetchConfig()
        self.other_records = 0
        self.one_document = per == "file"

    def records(self) -> Iterator[TextRecord | Damage]:
        """Every document, in file order; blank lines are passed over."""
        source = self._whole() if self.one_document else _lines(self.path, self.fetch, self.max_bytes)
        for offset, length, data in source:
            if isinstance(data, Damage):
                yield data
            elif length > self.max_bytes:
                drop = Drop("too_large", float(length), float(self.max_bytes))
                yield TextRecord(offset, length, "", drop=drop)
            else:
                text = decode_html(data)[0].strip("\r\n")
                yield TextRecord(offset, length, text, drop=None if text.strip() else Drop("empty_body", 0.0))

    def _whole(self) -> Iterator[tuple[int, int, bytes | Damage]]:
        with open_input(self.path, self.fetch) as file:
            try:
                data = decompressed(file).read(self.max_bytes + 1)
            except STREAM_ERRORS as error:
                yield 0, 0, _damage(0, 0, error)
                return
            yield 0, len(data), data


def _lines(path: str, fetch: FetchConfig, max_bytes: int) -> Iterator[tuple[int, int, bytes | Damage]]:
    """Offset, length and bytes of each line that is not blank; of lines longer than `max_bytes`, no more than those."""
    with open_input(path, fetch) as file:
        offset = start = 0
        try:
            stream = decompressed(file)
            while line := stream.readline(max_bytes + 1):
                start, offset = offset, offset + len(line)
                if len(line) > max_bytes and not line.endswith(b"\n"):
                    offset += _skip_line(stream)
                line = line.rstrip(b"\r\n")
                if line.strip():
                    yield start, offset - start, line
        except STREAM_ERRORS as error:
            yield offset, 0, _damage(offset, 0, error)


def _skip_line(stream: IO[bytes]) -> int:
    skipped = 0
    while piece := stream.readline(_SKIP):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _damage(offset: int, length: int, error: Exception) -> Damage:
    message = " ".join(str(error).split())[:200] or type(error).__name__
    return Damage(offset, length, "truncated" if was_cut(error) else "damaged", message)


def row_record(row: object, offset: int, length: int, columns: ColumnsConfig, max_bytes: int) -> TextRecord:
    """The document of one row (a mapping); reasons to drop it: `no_text`, `empty_body`, `too_large`."""
    if not isinstance(row, Mapping):
        return TextRecord(offset, length, "", drop=Drop("no_text", detail=f"{type(row).__name__}, expected an object"))
    text, drop = lookup(row, columns.text), None
    if not isinstance(text, str):
        found = f"{type(text).__name__} under {columns.text!r}" if text is not None else f"no {columns.text!r}"
        drop, text = Drop("no_text", detail=f"{found} among {', '.join(map(repr, row))}"[:200]), ""
    elif not text.strip():
        drop = Drop("empty_body", float(len(text)))
    elif len(text) * 4 > max_bytes and (size := len(text.encode("utf-8", "surrogatepass"))) > max_bytes:
        drop, text = Drop("too_large", float(size), float(max_bytes)), ""
    identity = lookup(row, columns.id)
    return TextRecord(
        offset,
        length,
        text,
        record_id=str(identity) if isinstance(identity, (str, int)) and str(identity) else None,
        url=_text(lookup(row, columns.url)),
        date=_text(lookup(row, columns.date)),
        title=_text(lookup(row, columns.title)),
        drop=drop,
    )


def lookup(row: Mapping[str, Any], name: str | None) -> Any:
    """The value under `name`, dotted names in nested mappings; None when there is none."""
    if name is None:
        return None
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str | None:
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    return value if isinstance(value, str) and value else None
