"""Iteration over the records of one WARC file that survives damage, on top of fastwarc.

Yields every response and revisit record with its place in the file, and a `Damage` for each stretch that cannot be
read, after which it goes on at the next record it can find.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import fsspec
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from millbase.errors import InputError

_GZIP_MAGIC = b"\x1f\x8b\x08"
_PLAIN_MAGIC = b"WARC/1."
_MAGIC_NAMES = {b"filedesc:": "an ARC file", b"%PDF": "a PDF", b"<": "HTML or XML", b"{": "JSON", b"PK": "a ZIP file"}
_BLOCK = 1 << 16
_WANTED = WarcRecordType.response | WarcRecordType.revisit


@dataclass(frozen=True)
class Record:
    """One response or revisit record."""

    offset: int
    """First byte in the file as stored; in the uncompressed stream when the file is compressed as one piece."""
    length: int
    """Bytes up to the next record, in the same measure."""
    kind: str
    """`response` or `revisit`."""
    record_id: str | None
    url: str | None
    date: str | None
    block: bytes
    """HTTP header and body, at most `max_bytes` + 1 bytes."""


@dataclass(frozen=True)
class Damage:
    """A stretch of a WARC file that cannot be read."""

    offset: int
    length: int
    reason: str
    """`truncated` (the file ends inside a record) or `damaged`."""
    message: str
    url: str | None = None


class WarcFile:
    """One local or remote WARC file: plain, or gzip, zstd or lz4 compressed."""

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.other_records = 0
        """Records seen that are neither responses nor revisits."""
        self._open: list[IO[bytes]] = []

    def records(self) -> Iterator[Record | Damage]:
        """Every response and revisit record and every damaged stretch, in file order.

        Raises InputError when the file is empty or no WARC file at all.
        """
        try:
            with fsspec.open(self.path, "rb") as file:
                yield from self._records(file)
        except FileNotFoundError:
            raise InputError(f"WARC file {self.path!r} does not exist; check the path") from None

    def _records(self, file: IO[bytes]) -> Iterator[Record | Damage]:
        size = file.seek(0, 2)
        file.seek(0)
        if size == 0:
            raise InputError(f"WARC file {self.path!r} is empty (0 bytes); remove it from the inputs or fetch it again")
        head = file.read(4)
        file.seek(0)
        gzipped = head.startswith(_GZIP_MAGIC[:2])
        if gzipped and compressed_as_one(file):
            # Offsets inside one long gzip member are meaningless to seek to: count in the uncompressed stream.
            yield from self._scan(_Gunzip(file), None, 0, None)
            return
        resync = _GZIP_MAGIC if gzipped else _PLAIN_MAGIC if head == b"WARC" else None
        yield from self._scan(file, size, 0, resync)

    def _scan(self, file: Any, size: int | None, start: int, resync: bytes | None) -> Iterator[Record | Damage]:
        seen = 0
        while True:
            last = start
            previous: tuple[WarcRecord, int, bytes, int] | None = None
            failure = None
            if start:
                file.seek(start)
            try:
                for record in ArchiveIterator(file, record_types=WarcRecordType.any_type, parse_http=False):
                    offset = record.stream_pos
                    if previous:
                        yield from self._finish(previous, offset)
                    previous, last = None, offset
                    block = record.reader.read(self.max_bytes + 1)
                    expected = _content_length(record)
                    if expected is None:
                        raise OSError("record without a valid Content-Length")
                    short = min(expected, self.max_bytes + 1) - len(block)
                    seen += 1
                    previous = (record, offset, block, short)
            except (OSError, zlib.error, EOFError) as error:
                failure = str(error)
            if not seen and not start and not self._is_warc(file):
                return
            end = size if size is not None else file.tell()
            if failure is None:
                yield from self._end(file, previous, end, resync)
                return
            if previous:  # the last whole record; where it ends is where the damage begins
                record_end = _member_end(file, previous[1], resync) or end
                yield from self._finish(previous, record_end)
                last = record_end
            following = _find_record(file, max(last, start) + 1, resync) if size is not None and resync else None
            stop = following if following is not None else end
            cut = following is None and resync is not None and _is_cut(file, last, resync)
            yield Damage(last, max(stop - last, 0), "truncated" if cut else "damaged", failure)
            if following is None:
                return
            start = following

    def _finish(self, item: tuple[WarcRecord, int, bytes, int], end: int) -> Iterator[Record | Damage]:
        record, offset, block, short = item
        if not record.record_type & _WANTED:
            self.other_records += 1
            return
        url = record.headers.get("WARC-Target-URI")
        if short > 0:
            message = f"record holds {len(block)} of {len(block) + short} bytes"
            yield Damage(offset, end - offset, "truncated", message, url)
            return
        yield Record(
            offset=offset,
            length=end - offset,
            kind="response" if record.record_type & WarcRecordType.response else "revisit",
            record_id=record.record_id,
            url=url.strip().removeprefix("<").removesuffix(">") if url else None,
            date=record.headers.get("WARC-Date"),
            block=block,
        )

    def _end(self, file: Any, item: Any, end: int, resync: bytes | None) -> Iterator[Record | Damage]:
        """The last record, and what fastwarc passes over in silence: a piece of a record after it."""
        if item is None:
            return
        record_end = _member_end(file, item[1], resync)
        yield from self._finish(item, record_end or end)
        cut_short = item[3] > 0
        if record_end is None and not cut_short and resync == _GZIP_MAGIC:
            yield Damage(item[1], end - item[1], "truncated", "the last gzip member has no end")
        elif record_end is not None and record_end < end and not cut_short:
            file.seek(record_end)
            if file.read(_BLOCK).strip(b"\r\n\0"):
                message = f"{end - record_end} bytes after the last record are no whole record"
                yield Damage(record_end, end - record_end, "truncated", message)

    def _is_warc(self, file: Any) -> bool:
        """Raises InputError, saying what the file is instead; False when it is a WARC file without any record."""
        file.seek(0)
        head = _first_bytes(file)
        if head.startswith(b"WARC/"):
            return True
        looks = next((name for magic, name in _MAGIC_NAMES.items() if head.lstrip().startswith(magic)), "")
        looks = f"looks like {looks}" if looks else f"starts with {head[:16]!r}"
        raise InputError(
            f"{self.path!r} is not a WARC file: at offset 0 it {looks}, expected 'WARC/1.0' or 'WARC/1.1'; "
            "remove it from the inputs or narrow the glob"
        )


class _Gunzip:
    """A forward-only stream of the bytes inside a gzip file, with the position in the uncompressed stream."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._inflate, self._rest, self._position = file, zlib.decompressobj(31), b"", 0

    def read(self, count: int = -1) -> bytes:
        while True:
            if self._inflate.eof and self._inflate.unused_data:
                self._rest, self._inflate = self._inflate.unused_data, zlib.decompressobj(31)
            data = self._rest or self._file.read(_BLOCK)
            if not data:
                return b""
            out = self._inflate.decompress(data, count if count > 0 else _BLOCK)
            self._rest = self._inflate.unconsumed_tail
            if out:
                self._position += len(out)
                return out

    def seek(self, offset: int) -> None:
        if offset:
            raise OSError("a gzip file compressed as one piece cannot be entered in the middle")
        self._file.seek(0)
        self._inflate, self._rest, self._position = zlib.decompressobj(31), b"", 0

    def tell(self) -> int:
        return self._position


def compressed_as_one(file: IO[bytes]) -> bool:
    """True when the first gzip member goes on after the first record (the WARC standard wants one member a record)."""
    inflate, head, wanted = zlib.decompressobj(31), b"", None
    file.seek(0)
    total = 0
    try:
        while not inflate.eof and (data := file.read(_BLOCK)):
            out = inflate.decompress(data)
            total += len(out)
            if wanted is None:
                head += out
                end = head.find(b"\r\n\r\n")
                length = re.search(rb"(?im)^content-length:[ \t]*(\d+)", head[:end]) if end >= 0 else None
                if end < 0 and len(head) < _BLOCK:
                    continue
                if length is None:
                    return False
                wanted = end + 4 + int(length[1]) + 4
            if total > wanted:
                return True
        return False
    except zlib.error:
        return False
    finally:
        file.seek(0)


def _content_length(record: WarcRecord) -> int | None:
    text = (record.headers.get("Content-Length") or "").strip()
    return int(text) if text.isdigit() else None


def _first_bytes(file: Any) -> bytes:
    head: bytes = file.read(1024)
    if head.startswith(_GZIP_MAGIC[:2]):
        try:
            head = zlib.decompressobj(31).decompress(head, 256)
        except zlib.error:
            return head
    return head


def _member_end(file: Any, offset: int, resync: bytes | None) -> int | None:
    """Where the record at `offset` ends; None when that cannot be told or it has no end."""
    if resync is None:
        return None
    file.seek(offset)
    if resync == _GZIP_MAGIC:
        inflate, position = zlib.decompressobj(31), offset
        try:
            while not inflate.eof and (data := file.read(_BLOCK)):
                inflate.decompress(data)
                position += len(data)
        except zlib.error:
            return None
        return position - len(inflate.unused_data) if inflate.eof else None
    head = file.read(_BLOCK)
    end = head.find(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length:[ \t]*(\d+)", head[:end]) if end >= 0 else None
    return offset + end + 4 + int(length[1]) + 4 if length else None


def _is_cut(file: Any, offset: int, magic: bytes) -> bool:
    """True when the file ends inside the record header (or gzip member) that begins at `offset`."""
    file.seek(offset)
    if magic == _GZIP_MAGIC:
        inflate = zlib.decompressobj(31)
        try:
            while not inflate.eof and (data := file.read(_BLOCK)):
                inflate.decompress(data)
        except zlib.error:
            return False
        return not inflate.eof
    head = file.read(_BLOCK)
    return head[: len(magic)] == magic[: len(head)] and b"\r\n\r\n" not in head


def _find_record(file: Any, start: int, magic: bytes) -> int | None:
    """Offset of the first record at or after `start` that begins as a record should."""
    file.seek(start)
    base, window = start, b""
    while data := file.read(1 << 20):
        window += data
        at = window.find(magic)
        while at >= 0:
            if _begins_record(file, base + at, magic, start):
                return base + at
            at = window.find(magic, at + 1)
        keep = len(magic) - 1
        base += len(window) - keep
        window = window[-keep:]
        file.seek(base + keep)
    return None


def _begins_record(file: Any, offset: int, magic: bytes, start: int) -> bool:
    if magic != _GZIP_MAGIC:
        file.seek(offset - 1)
        return file.read(1) == b"\n"  # type: ignore[no-any-return]
    file.seek(offset)
    try:
        return zlib.decompressobj(31).decompress(file.read(512), 64).startswith(b"WARC/")
    except zlib.error:
        return False
