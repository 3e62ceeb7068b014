"""A seekable file over a source that gives ranges of bytes, with a few blocks in memory."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any, Protocol

_BLOCKS = 3


class RangeSource(Protocol):
    """Something remote whose bytes can be asked for by range."""

    size: int

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` (exclusive), all of them, or an exception."""

    def close(self) -> None:
        """Let go of whatever is open."""


class BlockFile(io.RawIOBase):
    """Reads `source` in aligned blocks of `block_bytes`; the three used last are kept."""

    def __init__(self, source: RangeSource, block_bytes: int) -> None:
        super().__init__()
        self._source, self._block_bytes = source, block_bytes
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the current block reaches; 0 at the end of the file."""
        if self._position >= self._source.size:
            return 0
        index, within = divmod(self._position, self._block_bytes)
        data = memoryview(self._block(index))[within : within + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._blocks.clear()
            self._source.close()
        super().close()

    def _block(self, index: int) -> bytes:
        if index in self._blocks:
            self._blocks.move_to_end(index)
            return self._blocks[index]
        while len(self._blocks) >= _BLOCKS:
            self._blocks.popitem(last=False)
        start = index * self._block_bytes
        self._blocks[index] = self._source.fetch(start, min(start + self._block_bytes, self._source.size))
        return self._blocks[index]
