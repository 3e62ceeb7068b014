"""What paragraph and substring removal take out of documents: spans of the text as it was, and texts left too short.

Both look at the texts as they were before either, so one cuts nothing that the other has taken already: a text loses
the union of their spans.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_pipeline.base.sorting import Sorter, Space, numbers, pack, release
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.dedup.documents import PARAGRAPHS, STEPS, SUBSTRINGS, Documents
from data_pipeline.dedup.paragraphs import repeated_paragraphs, spans_of
from data_pipeline.dedup.substrings import Windows, repeated_landmarks, repeated_windows

Fingerprints = Callable[[str], Iterable[tuple[int, pa.ListArray]]]
"""Column name -> (row of the first document, its lists) for all documents of the build, in order."""
Span = tuple[int, int]


@dataclass
class Cuts:
    """The spans that documents lose: arrays sorted by row and start, in files."""

    rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    steps: np.ndarray

    def of(self, first: int, last: int) -> dict[int, list[tuple[int, int, int]]]:
        """row -> (start, end, step) of its spans, for the rows from `first` to before `last` that have some."""
        begin, end = np.searchsorted(self.rows, [first, last]).tolist()
        found: dict[int, list[tuple[int, int, int]]] = {}
        columns = (self.rows, self.starts, self.ends, self.steps)
        for row, start, stop, step in zip(*(column[begin:end].tolist() for column in columns), strict=True):
            found.setdefault(row, []).append((start, stop, step))
        return found

    def text(self, row: int, text: str) -> str:
        """What is left of the text of `row`."""
        return without(text, [(start, end) for start, end, _ in self.of(row, row + 1).get(row, [])])


def find_cuts(
    documents: Documents,
    config: DedupConfig,
    fingerprints: Fingerprints,
    text_of: Callable[[int], str],
    sizes: np.ndarray,
    space: Space,
) -> Cuts:
    """Find what documents lose, drop those of which too little is left, and set the bytes of the others in `sizes`."""
    streams: list[Iterator[tuple[int, int, np.ndarray]]] = []
    sorters: list[Sorter] = []
    windows = Windows(config.substrings)
    if config.paragraphs.enabled:
        found = _collect(documents, fingerprints("paragraphs"), space, ranked=True)
        sorters.append(repeated_paragraphs(found, config.paragraphs, space))
        found.close()
        streams.append(_by_row(sorters[-1], PARAGRAPHS))
    if config.substrings.enabled:
        sorters.append(_find_windows(documents, windows, fingerprints, text_of, space))
        streams.append(_by_row(sorters[-1], SUBSTRINGS))
    spans = space.sorter(32)
    pending: dict[int, np.ndarray] = {}
    current = -1

    def finish() -> None:
        if pending:
            _cut(documents, current, text_of(current), pending, config, windows, spans, sizes)
            pending.clear()

    for row, step, values in heapq.merge(*streams, key=lambda item: item[:2]):
        if row != current:
            finish()
            current = row
        pending[step] = values
    finish()
    for sorter in sorters:
        sorter.close()
    documents.release()
    return _stored(spans, space)


def without(text: str, spans: Sequence[Span]) -> str:
    """`text` without the characters of `spans` (in order of their starts), and without white space at its ends."""
    kept, place = [], 0
    for start, end in spans:
        kept.append(text[place:start])
        place = max(place, end)
    kept.append(text[place:])
    return "".join(kept).strip()


def _cut(
    documents: Documents,
    row: int,
    text: str,
    repeats: dict[int, np.ndarray],
    config: DedupConfig,
    windows: Windows,
    spans: Sorter,
    sizes: np.ndarray,
) -> None:
    lost: list[tuple[int, int, int]] = []
    left = text
    for step, limits in ((PARAGRAPHS, config.paragraphs), (SUBSTRINGS, config.substrings)):
        if step not in repeats:
            continue
        if step == PARAGRAPHS:
            found = spans_of(text, repeats[step], config.paragraphs)
        else:
            found = windows.spans(text, repeats[step])
        lost += [(start, end, step) for start, end in found]
        lost.sort()
        left = without(text, [(start, end) for start, end, _ in lost])
        if len(left) < limits.min_left_characters:
            documents.step[row], documents.similarity[row], documents.keeper[row] = step, len(left), row
            return
    sizes[row] = len(left.encode("utf-8", "surrogatepass"))
    columns = np.array(lost, dtype=np.int64).reshape(-1, 3).T
    spans.add(pack(np.full(len(lost), row), *columns))


def _collect(documents: Documents, column: Iterable[tuple[int, pa.ListArray]], space: Space, ranked: bool) -> Sorter:
    """Records (hash, row), or (hash, rank, row), of all hashes in `column` of documents that are left."""
    sorter = space.sorter(24 if ranked else 16)
    for first, lists in column:
        rows = np.repeat(np.arange(first, first + len(lists)), lists.value_lengths().to_numpy())
        hashes = lists.flatten().to_numpy().view(np.int64)
        alive = documents.step[rows] == 0
        rows, hashes = rows[alive], hashes[alive]
        sorter.add(pack(hashes, documents.rank[rows], rows) if ranked else pack(hashes, rows))
        documents.release()
    return sorter


def _find_windows(
    documents: Documents, windows: Windows, fingerprints: Fingerprints, text_of: Callable[[int], str], space: Space
) -> Sorter:
    found = _collect(documents, fingerprints("landmarks"), space, ranked=False)
    landmarks = repeated_landmarks(found, space)
    found.close()
    hashed = space.sorter(40)
    for row, _, values in _by_row(landmarks, SUBSTRINGS):
        starts, one, two = windows.hashes(text_of(row), values.view(np.uint64))
        rank = np.full(len(starts), documents.rank[row])
        hashed.add(pack(one, two, rank, np.full(len(starts), row), starts))
    landmarks.close()
    repeats = repeated_windows(hashed, space)
    hashed.close()
    return repeats


def _by_row(sorter: Sorter, step: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """(row, step, values) of records (row, value); the values of a document are complete."""
    pending = np.empty((0, 16), dtype=np.uint8)
    for records in sorter.chunks():
        records = np.concatenate([pending, records])
        rows, values = numbers(records, 0), numbers(records, 8)
        bounds = np.flatnonzero(rows[1:] != rows[:-1]) + 1
        for begin, end in zip([0, *bounds.tolist()][:-1], bounds.tolist(), strict=True):
            yield int(rows[begin]), step, values[begin:end]
        pending = records[bounds[-1] if len(bounds) else 0 :]
    if len(pending):
        yield int(numbers(pending, 0)[0]), step, numbers(pending, 8)


def _stored(spans: Sorter, space: Space) -> Cuts:
    names = ("rows", "starts", "ends", "steps")
    arrays = [space.array(f"cuts-{name}.i64", np.int64, (spans.added,)) for name in names]
    place = 0
    for records in spans.chunks():
        for column, array in enumerate(arrays):
            array[place : place + len(records)] = numbers(records, 8 * column)
            release(array)
        place += len(records)
    spans.close()
    return Cuts(*arrays)


def removed_spans(found: Sequence[tuple[int, int, int]]) -> list[dict[str, object]]:
    """The spans (start, end, step) of a document as they stand in the corpus's column `removed_spans`."""
    return [{"step": STEPS[step], "start": start, "end": end} for start, end, step in found]
