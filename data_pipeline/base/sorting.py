"""Sorting more than fits into memory: fixed-width records, sorted runs on disk, merged as they are read.

A record is a row of bytes, compared byte by byte from the left; numbers are packed most significant byte first, so that
they compare as numbers. What is to be brought together (equal hashes, edges of one node) is sorted by it and comes out
side by side, in a bounded piece at a time.

space = Space(memory=1 << 30, folder=scratch)
sorter = space.sorter(16)
sorter.add(pack(hashes, rows))
for records in sorter.chunks():
    hashes, rows = numbers(records, 0), numbers(records, 8)
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_FAN_IN = 128
"""Runs merged at once: files open at the same time."""
_PARTS = 16
"""A sorter's runs, and what it hands out at a time, take this part of the memory each; sorting and the arrays that
callers make of a piece take several times its size."""
_SCATTERED = 32


@dataclass(frozen=True)
class Space:
    """How much memory may be used, and where to put the rest."""

    memory: int
    """Bytes that sorting and comparing may use at a time, to within a small factor for what stands beside them."""
    folder: Path | None = None
    """Where runs and arrays go, which their users remove; None: temporary files."""

    def sorter(self, width: int, unique: bool = False) -> Sorter:
        """A sorter of records of `width` bytes (at least 8); `unique` drops all but one of equal records."""
        return Sorter(width, self, unique)

    def array(self, name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        """An array of zeros in a file `name`, so that the kernel may take its memory back (see `release`)."""
        if 0 in shape or self.folder is None:
            return np.zeros(shape, dtype)
        self.folder.mkdir(parents=True, exist_ok=True)
        return np.memmap(self.folder / name, dtype=dtype, mode="w+", shape=shape)

    def rows(self, bytes_per_row: int) -> int:
        """How many rows of this size to work on at a time."""
        return max(1024, self.memory // (_PARTS * bytes_per_row))


def release(array: np.ndarray) -> None:
    """Let go of the memory that a file-backed array takes in this process; its contents stay in the file."""
    backing = getattr(array, "_mmap", None)
    if isinstance(backing, mmap.mmap):
        backing.madvise(mmap.MADV_DONTNEED)


def gather(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`array[rows]`, in any order of rows, without mapping much of its file at a time.

    A page fault maps 64 kB around it: some thousand rows at random would map most of a large file.
    """
    if not isinstance(array, np.memmap):
        return np.asarray(array[rows])
    result = np.empty((len(rows), *array.shape[1:]), dtype=array.dtype)
    for start in range(0, len(rows), _SCATTERED):
        part = slice(start, start + _SCATTERED)
        result[part] = array[rows[part]]
        release(array)
    return result


def scatter(array: np.ndarray, rows: np.ndarray, values: np.ndarray | int) -> None:
    """`array[rows] = values` likewise."""
    step = 128 * _SCATTERED  # a fault for writing maps 4 kB
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        array[rows[part]] = values[part] if isinstance(values, np.ndarray) else values
        release(array)


def pack(*columns: np.ndarray) -> np.ndarray:
    """uint8 [N, width] records of arrays of length N: integers that are not negative, or rows of bytes uint8 [N, K]."""
    parts = []
    for column in columns:
        if column.ndim == 1:
            column = np.ascontiguousarray(column.astype(">u8")).view(np.uint8).reshape(-1, 8)
        parts.append(column)
    return np.concatenate(parts, axis=1)


def numbers(records: np.ndarray, offset: int) -> np.ndarray:
    """int64 [N]: the 8 bytes at `offset` of each record (hashes of 64 bits may come out negative)."""
    return np.ascontiguousarray(records[:, offset : offset + 8]).view(">u8").ravel().astype(np.uint64).view(np.int64)


def sort_records(records: np.ndarray, unique: bool = False) -> np.ndarray:
    """The rows of uint8 [N, width] in order."""
    key = numbers(records, 0).view(np.uint64)
    order = np.argsort(key, kind="stable")
    key = key[order]
    equal = key[1:] == key[:-1]
    tied = np.zeros(len(order), dtype=bool)
    tied[1:] |= equal
    tied[:-1] |= equal
    places = np.flatnonzero(tied)  # few: only these need their other bytes compared
    if len(places) and records.shape[1] > 8:
        order[places] = order[places][np.argsort(_strings(records[order[places]]), kind="stable")]
    result = records[order]
    return _without_repeats(result) if unique else result


def starts_of_groups(*keys: np.ndarray) -> np.ndarray:
    """bool [N]: where any of the arrays [N] differs from its entry before."""
    first = np.zeros(len(keys[0]), dtype=bool)
    first[:1] = True
    for key in keys:
        first[1:] |= key[1:] != key[:-1]
    return first


def _strings(records: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(records).view(f"S{records.shape[1]}").ravel()


def _without_repeats(records: np.ndarray) -> np.ndarray:
    keep = np.ones(len(records), dtype=bool)
    keep[1:] = (records[1:] != records[:-1]).any(axis=1)
    return records[keep]


class Sorter:
    """Collects records and gives them back in order, as often as asked; see the module's docstring."""

    def __init__(self, width: int, space: Space, unique: bool) -> None:
        assert width >= 8, "records are sorted by their first eight bytes first"
        self.width, self.space, self.unique = width, space, unique
        self._limit = max(1024, space.memory // (_PARTS * width))
        self._pending: list[np.ndarray] = []
        self._pending_rows = 0
        self._runs: list[Path] = []
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.added = 0
        """Records added, repeats among them."""

    def add(self, records: np.ndarray) -> None:
        """Add uint8 [N, width] records."""
        assert records.shape[1] == self.width, "all records of a sorter have one width"
        self.added += len(records)
        for start in range(0, len(records), self._limit):
            part = records[start : start + self._limit]
            self._pending.append(part)
            self._pending_rows += len(part)
            if self._pending_rows >= self._limit:
                self._write_run(sort_records(self._take_pending(), self.unique))

    def chunks(self) -> Iterator[np.ndarray]:
        """All records in order, in pieces of bounded size. Nothing may be added afterwards."""
        if not self._runs:
            if self._pending:
                self._pending = [sort_records(np.concatenate(self._pending), self.unique)]
                yield self._pending[0]
            return
        if self._pending:
            self._write_run(sort_records(self._take_pending(), self.unique))
        while len(self._runs) > _FAN_IN:
            runs, self._runs = self._runs[:_FAN_IN], self._runs[_FAN_IN:]
            self._write_runs(self._merge(runs))
            for run in runs:
                run.unlink()
        yield from self._merge(self._runs)

    def write(self, path: Path) -> int:
        """Write all records in order to a file, for `adopt` of a sorter in another process; how many."""
        count = 0
        with path.open("wb") as file:
            for records in self.chunks():
                file.write(np.ascontiguousarray(records).data)
                count += len(records)
        return count

    def adopt(self, path: Path) -> None:
        """Add the records of a file that a sorter of the same kind wrote; the file becomes this sorter's."""
        self._runs.append(path)
        self.added += path.stat().st_size // self.width

    def close(self) -> None:
        """Remove the runs."""
        self._pending = []
        for run in self._runs:
            run.unlink(missing_ok=True)
        self._runs = []
        if self._temporary is not None:
            self._temporary.cleanup()

    def _take_pending(self) -> np.ndarray:
        records = np.concatenate(self._pending)
        self._pending, self._pending_rows = [], 0
        return records

    def _write_run(self, records: np.ndarray) -> None:
        self._write_runs(iter([records]))

    def _write_runs(self, pieces: Iterator[np.ndarray]) -> None:
        file, name = tempfile.mkstemp(suffix=".run", dir=self._folder())
        self._runs.append(Path(name))
        with open(file, "wb") as run:
            for records in pieces:
                run.write(np.ascontiguousarray(records).data)

    def _folder(self) -> Path:
        if self.space.folder is not None:
            self.space.folder.mkdir(parents=True, exist_ok=True)
            return self.space.folder
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="llmill-sort-")
        return Path(self._temporary.name)

    def _merge(self, runs: list[Path]) -> Iterator[np.ndarray]:
        """Per round, all records up to the smallest that may yet be read from some run."""
        rows = max(64, self._limit // len(runs))
        readers = [_Run(run, self.width, rows) for run in runs]
        last: np.ndarray | None = None
        while readers := [reader for reader in readers if reader.fill()]:
            ends = [reader.last() for reader in readers if reader.more]
            bound = min(ends) if ends else None
            records = sort_records(np.concatenate([reader.take(bound) for reader in readers]), self.unique)
            if self.unique and last is not None and len(records) and (records[0] == last).all():
                records = records[1:]
            if len(records):
                last = records[-1].copy()
                yield records


class _Run:
    """Reads a sorted run block by block."""

    def __init__(self, path: Path, width: int, rows: int) -> None:
        self._file, self._width, self._rows = open(path, "rb"), width, rows
        self._block = np.empty((0, width), dtype=np.uint8)
        self.more = True

    def fill(self) -> bool:
        """Read the next block where the last one is used up; False at the end."""
        if len(self._block) == 0:
            data = self._file.read(self._rows * self._width)
            self._block = np.frombuffer(data, dtype=np.uint8).reshape(-1, self._width)
            self.more = len(self._block) == self._rows
            if len(self._block) == 0:
                self._file.close()
        return len(self._block) > 0

    def last(self) -> bytes:
        return self._block[-1].tobytes()

    def take(self, bound: bytes | None) -> np.ndarray:
        """The records of the block that are not above `bound`."""
        strings = _strings(self._block)
        count = len(strings) if bound is None else int(np.searchsorted(strings, np.bytes_(bound), side="right"))
        taken, self._block = self._block[:count], self._block[count:]
        return taken
