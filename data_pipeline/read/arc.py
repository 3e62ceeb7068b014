"""Records of ARC files, the format of crawls before WARC (Internet Archive, "ARC File Format", 1996).

Each record is a line `URL IP-address Archive-date Content-type Archive-length` (version 2: five more fields before the
length) and so many bytes: the HTTP response. The first record, `filedesc:`, describes the file. Gzipped files hold one
member a record.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from data_pipeline.fetch import FetchConfig, open_input
from data_pipeline.read.items import Damage, Record
from data_pipeline.read.members import GZIP_MAGIC, Gunzip, compressed_as_one, find_start, member_begins, read_member

_LINE_BYTES = 1 << 16
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:")
_ADDRESS = re.compile(rb"[0-9A-Fa-f:.]*|-")
_DATE = re.compile(rb"\d{8,14}|-")
_LENGTH = re.compile(rb"\d{1,18}")


class Header(NamedTuple):
    """The line before a record."""

    url: bytes
    date: bytes
    length: int
    """Bytes of the record after the line."""
    end: int
    """Bytes of the line itself."""


class ArcFile:
    """One local or remote ARC file, plain or gzipped."""

    def __init__(self, path: str, max_bytes: int, fetch: FetchConfig | None = None) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.fetch = fetch or FetchConfig()
        self.other_records = 0
        """`filedesc:` records."""

    def records(self) -> Iterator[Record | Damage]:
        """Every record but `filedesc:` as a response, and every damaged stretch, in file order."""
        with open_input(self.path, self.fetch) as file:
            size = file.seek(0, 2)
            file.seek(0)
            gzipped = file.read(2) == GZIP_MAGIC[:2]
            if gzipped and compressed_as_one(file, arc_record_end):
                yield from self._scan(io.BufferedReader(Gunzip(file)), None)
            elif gzipped:
                yield from self._members(file, size)
            else:
                file.seek(0)
                yield from self._scan(file, size)

    def _members(self, file: IO[bytes], size: int) -> Iterator[Record | Damage]:
        """Records of a file with one gzip member for each."""
        offset = 0
        while offset < size:
            member = read_member(file, offset, self.max_bytes + 1 + _LINE_BYTES)
            header = parse_header(member.data)
            wanted = header.end + header.length if header else 0
            if member.end is not None and (member.size == 0 or (header is not None and member.size >= wanted)):
                if header is not None:
                    yield from self._record(header, member.data[header.end : wanted], offset, member.end - offset)
                offset = member.end
                continue
            following = find_start(file, offset + 1, GZIP_MAGIC, member_begins(_begins_line))
            stop = size if following is None else following
            cut = member.error is None and member.end is None
            message = member.error or _fault(header, member.size)
            yield Damage(offset, stop - offset, "truncated" if cut else "damaged", message, _url(header))
            offset = stop

    def _scan(self, stream: IO[bytes], size: int | None) -> Iterator[Record | Damage]:
        """Records of a stream; where `size` is known, it is searched for the next record after damage."""
        offset = 0
        while True:
            start, header, error, got, cut = offset, None, None, 0, False
            try:
                line = stream.readline(_LINE_BYTES)
                if not line.strip(b"\r\n\0"):
                    if not line:
                        return
                    offset += len(line)
                    continue
                header, got = parse_header(line), len(line)
                if header is not None:
                    block = stream.read(min(header.length, self.max_bytes + 1))
                    got += len(block) + _skip(stream, header.length - len(block))
            except (OSError, EOFError, zlib.error) as broken:
                error, size, cut = str(broken), None, isinstance(broken, EOFError)
            offset = start + got
            if header is not None and error is None and got == header.end + header.length:
                yield from self._record(header, block, start, got)
                continue
            following = None
            if header is None and error is None and size is not None:
                newline = find_start(stream, start, b"\n", lambda _, found: parse_header(found[1:]) is not None)
                following = None if newline is None else newline + 1
            stop = following if following is not None else max(offset, start) if size is None else size
            if error is None:
                cut = following is None and (header is not None or not line.endswith(b"\n"))
            yield Damage(
                start, stop - start, "truncated" if cut else "damaged", error or _fault(header, got), _url(header)
            )
            if following is None:
                return
            stream.seek(following)
            offset = following

    def _record(self, header: Header, block: bytes, offset: int, length: int) -> Iterator[Record]:
        url = header.url.decode("utf-8", "replace")
        if url.startswith("filedesc:"):
            self.other_records += 1
            return
        yield Record(offset, length, "response", None, url, _date(header.date), block[: self.max_bytes + 1])


def parse_header(head: bytes) -> Header | None:
    """The record line that `head` begins with; None when it is none. URLs may hold spaces, the other fields do not."""
    end = head.find(b"\n", 0, _LINE_BYTES) + 1
    fields = head[:end].rstrip(b"\r\n").split(b" ")
    for back in (8, 3):  # where the date stands from the end, in versions 2 and 1
        if len(fields) > back + 1 and _DATE.fullmatch(fields[-back]) and _ADDRESS.fullmatch(fields[-back - 1]):
            url = b" ".join(fields[: -back - 1])
            if _SCHEME.match(url) and _LENGTH.fullmatch(fields[-1]):
                return Header(url, fields[-back], int(fields[-1]), end)
    return None


def arc_record_end(head: bytes) -> int | None:
    """Where the first record ends, for `compressed_as_one`, at the most: some files count the blank line after the
    block, others do not."""
    header = parse_header(head)
    if header is None:
        return 0 if b"\n" in head else None
    return header.end + header.length + 2


def _begins_line(head: bytes) -> bool:
    """Whether a member begins with a record's line; of a long line only the beginning is seen."""
    return parse_header(head) is not None or (b"\n" not in head and _SCHEME.match(head) is not None)


def _skip(stream: IO[bytes], count: int) -> int:
    """Read and forget `count` bytes; how many there were."""
    done = 0
    while done < count and (data := stream.read(min(count - done, 1 << 20))):
        done += len(data)
    return done


def _fault(header: Header | None, got: int) -> str:
    if header is None:
        return "no ARC record line (URL, IP address, date, type, length)"
    return f"record holds {max(got - header.end, 0)} of {header.length} bytes"


def _url(header: Header | None) -> str | None:
    return header.url.decode("utf-8", "replace") if header else None


def _date(digits: bytes) -> str | None:
    """`2008-04-30T20:48:25Z` of `20080430204825`."""
    if len(digits) != 14 or not digits.isdigit():
        return None
    text = digits.decode()
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:]}Z"
