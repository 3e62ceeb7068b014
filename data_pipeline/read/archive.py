"""Iteration over the records of one WARC file that survives damage, on top of fastwarc.

Yields every response, revisit and conversion record with its place in the file, and a `Damage` for each stretch that
cannot be read, after which it goes on at the next record it can find.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import IO, Any

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from data_pipeline.fetch import FetchConfig, open_input
from data_pipeline.read.items import Damage, Record
from data_pipeline.read.members import (
    BLOCK,
    GZIP_MAGIC,
    Gunzip,
    compressed_as_one,
    find_start,
    member_begins,
    read_member,
)
from millbase.errors import InputError

_PLAIN_MAGIC = b"WARC/1."
_MAGIC_NAMES = {b"filedesc:": "an ARC file", b"%PDF": "a PDF", b"<": "HTML or XML", b"{": "JSON", b"PK": "a ZIP file"}
_KINDS = {int(getattr(WarcRecordType, kind)): kind for kind in ("response", "revisit", "conversion")}
_PADDING = 1024
_CONTENT_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,18})\b")


class WarcFile:
    """One local or remote WARC file: plain, or gzip, zstd or lz4 compressed."""

    def __init__(self, path: str, max_bytes: int, fetch: FetchConfig | None = None) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.fetch = fetch or FetchConfig()
        self.other_records = 0
        """Records of other types than the three."""

    def records(self) -> Iterator[Record | Damage]:
        """Every wanted record and every damaged stretch, in file order.

        Raises InputError when the file is missing, empty or no WARC file at all.
        """
        with open_input(self.path, self.fetch) as file:
            yield from self._records(file)

    def _records(self, file: IO[bytes]) -> Iterator[Record | Damage]:
        size = file.seek(0, 2)
        file.seek(0)
        if size == 0:
            raise InputError(f"WARC file {self.path!r} is empty (0 bytes); remove it from the inputs or fetch it again")
        head = file.read(4)
        file.seek(0)
        gzipped = head.startswith(GZIP_MAGIC[:2])
        if gzipped and compressed_as_one(file, warc_record_end):
            # Offsets inside one long gzip member are meaningless to seek to: count in the uncompressed stream.
            yield from self._scan(_Forward(file), None, 0, None)
            return
        resync = GZIP_MAGIC if gzipped else _PLAIN_MAGIC if head == b"WARC" else None
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
            except (OSError, ValueError, OverflowError, zlib.error, EOFError) as error:
                failure = str(error) or type(error).__name__
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
            if stop - last > _PADDING or size is None or not _is_blank(file, last, stop):
                yield Damage(last, max(stop - last, 0), "truncated" if cut else "damaged", failure)
            if following is None:
                return
            start = following

    def _finish(self, item: tuple[WarcRecord, int, bytes, int], end: int) -> Iterator[Record | Damage]:
        record, offset, block, short = item
        kind = _KINDS.get(int(record.record_type))
        if kind is None:
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
            kind=kind,
            record_id=record.record_id,
            url=url.strip().removeprefix("<").removesuffix(">") if url else None,
            date=record.headers.get("WARC-Date"),
            block=block,
            content_type=record.headers.get("Content-Type"),
        )

    def _end(self, file: Any, item: Any, end: int, resync: bytes | None) -> Iterator[Record | Damage]:
        """The last record, and what fastwarc passes over in silence: a piece of a record after it."""
        if item is None:
            return
        record_end = _member_end(file, item[1], resync)
        yield from self._finish(item, record_end or end)
        cut_short = item[3] > 0
        if record_end is None and not cut_short and resync == GZIP_MAGIC:
            yield Damage(item[1], end - item[1], "truncated", "the last gzip member has no end")
        elif record_end is not None and record_end < end and not cut_short:
            file.seek(record_end)
            if file.read(BLOCK).strip(b"\r\n\0"):
                message = f"{end - record_end} bytes after the last record are no whole record"
                yield Damage(record_end, end - record_end, "truncated", message)

    def _is_warc(self, file: Any) -> bool:
        """Raises InputError, saying what the file is instead; False when it is a WARC file without any record."""
        file.seek(0)
        head = first_bytes(file)
        if head.startswith(b"WARC/"):
            return True
        looks = next((name for magic, name in _MAGIC_NAMES.items() if head.lstrip().startswith(magic)), "")
        looks = f"looks like {looks}" if looks else f"starts with {head[:16]!r}"
        raise InputError(
            f"{self.path!r} is not a WARC file: at offset 0 it {looks}, expected 'WARC/1.0' or 'WARC/1.1'; "
            "remove it from the inputs or narrow the glob"
        )


class _Forward(Gunzip):
    """As fastwarc wants a stream: `read` gives some bytes, none only at the end, which a cut-off file just reaches."""

    def read(self, count: int = -1) -> bytes:
        buffer = bytearray(count if count > 0 else BLOCK)
        try:
            return bytes(buffer[: self.readinto(buffer)])
        except EOFError:
            return b""


def warc_record_end(head: bytes) -> int | None:
    """Where the record that `head` begins with ends, for `compressed_as_one`: 0 where that cannot be told, None where
    the header goes on."""
    end = head.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _CONTENT_LENGTH.search(head[:end])
    return end + 4 + int(length[1]) + 4 if length else 0


def _content_length(record: WarcRecord) -> int | None:
    text = (record.headers.get("Content-Length") or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def first_bytes(file: Any) -> bytes:
    """The first bytes at the position of `file`, from inside gzip."""
    head: bytes = file.read(1024)
    if head.startswith(GZIP_MAGIC[:2]):
        try:
            head = zlib.decompressobj(31).decompress(head, 256)
        except zlib.error:
            return head
    return head


def _member_end(file: Any, offset: int, resync: bytes | None) -> int | None:
    """Where the record at `offset` ends; None when that cannot be told or it has no end."""
    if resync is None:
        return None
    if resync == GZIP_MAGIC:
        return read_member(file, offset, 0).end
    file.seek(offset)
    end = warc_record_end(file.read(BLOCK))
    return offset + end if end else None


def _is_cut(file: Any, offset: int, magic: bytes) -> bool:
    """True when the file ends inside the record header (or gzip member) that begins at `offset`."""
    if magic == GZIP_MAGIC:
        member = read_member(file, offset, 0)
        return member.end is None and member.error is None
    file.seek(offset)
    head: bytes = file.read(BLOCK)
    return head[: len(magic)] == magic[: len(head)] and b"\r\n\r\n" not in head


def _is_blank(file: Any, start: int, stop: int) -> bool:
    """Whether nothing is lost in a stretch: some writers put more or fewer blank lines between records than two."""
    file.seek(start)
    return not file.read(max(stop - start, 0)).strip(b"\r\n\0")


def _find_record(file: Any, start: int, magic: bytes) -> int | None:
    """Offset of the first record at or after `start` that begins as a record should."""
    if magic == GZIP_MAGIC:
        return find_start(file, start, magic, member_begins(lambda head: head.startswith(b"WARC/")))
    return find_start(file, start, magic, lambda before, _: before == b"\n")
