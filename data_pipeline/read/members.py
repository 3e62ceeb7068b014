"""Gzip files record by record: members, their ends, and the way back after damage. Memory stays bounded throughout."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

GZIP_MAGIC = b"\x1f\x8b\x08"
BLOCK = 1 << 16
_WINDOW = 1 << 20
_PROBE_BYTES = 512


class Member(NamedTuple):
    """One gzip member."""

    data: bytes
    """Its first bytes, uncompressed, at most as many as asked for."""
    size: int
    """Uncompressed bytes in all."""
    end: int | None
    """Where it ends in the file; None when the file ends first or it is damaged."""
    error: str | None
    """What is damaged."""


def read_member(file: IO[bytes], offset: int, limit: int) -> Member:
    """The member that begins at `offset`; all of it is inflated, `limit` bytes are kept."""
    kept, size = bytearray(), 0
    file.seek(offset)
    inflate, position = zlib.decompressobj(31), offset
    try:
        while not inflate.eof and (data := file.read(BLOCK)):
            position += len(data)
            for out in inflate_bounded(inflate, data):
                size += len(out)
                kept += out[: limit - len(kept)]
    except zlib.error as error:
        return Member(bytes(kept), size, None, str(error))
    return Member(bytes(kept), size, position - len(inflate.unused_data) if inflate.eof else None, None)


def inflate_bounded(inflate: Any, data: bytes) -> Iterator[bytes]:
    """What `data` adds to the stream, in pieces of bounded size: 64 kB of a bomb inflate to 67 MB."""
    while True:
        out = inflate.decompress(data, 4 * BLOCK)
        if out:
            yield out
        data = inflate.unconsumed_tail
        if inflate.eof or (not data and len(out) < 4 * BLOCK):
            return


def compressed_as_one(file: IO[bytes], record_end: Callable[[bytes], int | None]) -> bool:
    """True when the first gzip member goes on after the first record (one member a record is usual).

    `record_end` tells from the first bytes where the first record ends, 0 when that cannot be told, None to see more.
    """
    inflate, head, total = zlib.decompressobj(31), b"", 0
    wanted: int | None = None
    file.seek(0)
    try:
        while not inflate.eof and (data := file.read(BLOCK)):
            for out in inflate_bounded(inflate, data):
                total += len(out)
                if wanted is None:
                    head += out
                    wanted = record_end(head)
                    if (wanted is None and len(head) >= BLOCK) or wanted == 0:
                        return False
                if wanted is not None and total > wanted:
                    return True
        return False
    except zlib.error:
        return False
    finally:
        file.seek(0)


class Gunzip(io.RawIOBase):
    """A forward-only stream of the bytes inside a gzip file, with the position in the uncompressed stream.

    Raises zlib.error where the file is damaged, EOFError where it ends inside a member.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._restart()

    def _restart(self) -> None:
        self._file.seek(0)
        self._inflate, self._rest, self._position = zlib.decompressobj(31), b"", 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with what is there; 0 at the end."""
        while True:
            if self._inflate.eof:
                following = self._inflate.unused_data or self._file.read(BLOCK)
                if following and not (following := following.lstrip(b"\0")):
                    following = self._file.read(BLOCK)  # zeros fill up the blocks of some media
                if not following:
                    return 0
                self._inflate, self._rest = zlib.decompressobj(31), following
            data = self._rest or self._file.read(BLOCK)
            if not data:
                raise EOFError("the compressed file ends inside a gzip member")
            out = self._inflate.decompress(data, len(buffer))
            self._rest = self._inflate.unconsumed_tail
            if out:
                buffer[: len(out)] = out
                self._position += len(out)
                return len(out)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Only to the beginning."""
        if offset or whence:
            raise OSError("a gzip file compressed as one piece cannot be entered in the middle")
        self._restart()
        return 0

    def tell(self) -> int:
        return self._position


def find_start(file: IO[bytes], start: int, magic: bytes, begins: Callable[[bytes, bytes], bool]) -> int | None:
    """Offset of the first place at or after `start` where `magic` stands and `begins(before, following)` is true of the
    byte before it and the 512 bytes from it (fewer at the end of the file)."""
    file.seek(max(start - 1, 0))
    window = file.read(1) if start else b""
    base = start - len(window)
    while True:
        data = file.read(_WINDOW)
        window += data
        at = window.find(magic, 1 if base < start else 0)
        while at >= 0:
            if data and at + _PROBE_BYTES > len(window):
                break  # judge it when its following bytes are there
            if begins(window[max(at - 1, 0) : at], window[at : at + _PROBE_BYTES]):
                return base + at
            at = window.find(magic, at + 1)
        if not data:
            return None
        cut = max(at - 1, 0) if at >= 0 else max(len(window) - len(magic), 0)
        base, window = base + cut, window[cut:]


def member_begins(first: Callable[[bytes], bool]) -> Callable[[bytes, bytes], bool]:
    """For `find_start`: a gzip member whose uncompressed bytes begin as `first` says."""

    def begins(_: bytes, following: bytes) -> bool:
        try:
            return first(zlib.decompressobj(31).decompress(following, 256))
        except zlib.error:
            return False

    return begins
