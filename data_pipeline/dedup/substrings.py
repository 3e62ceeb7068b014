"""Runs of words that stand in several documents, or twice in one (Lee et al. 2022, section 4.1, "ExactSubstr").

Lee et al. sort all suffixes of the corpus. Here only hashes are sorted, with the same result: every run of at least
`min_words` words that also stands in a better document, or earlier in the same one, is found, and nothing else (up to
collisions of 128-bit hashes). To sort not one hash a word but one in about thirteen:

1. Each document leaves landmarks: of each window of `min_words` words the smallest hash of its runs of half that length
   (winnowing; Schleimer, Wilkerson and Aiken, SIGMOD 2003). Equal windows have equal landmarks, so a window none of
   whose landmarks occurs twice cannot occur twice either.
2. Windows around landmarks that do occur twice are hashed whole and sorted, best document first: all but the first
   occurrence of a window are repeats. Most windows are never looked at.

Words are those of MinHash, in the case in which they stand; punctuation and white space between them do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from data_pipeline.base.sorting import Sorter, Space, numbers, pack, starts_of_groups
from data_pipeline.dedup.config import SubstringConfig
from data_pipeline.minhash import MinHashConfig
from data_pipeline.minhash.signatures import run_hashes
from data_pipeline.minhash.words import WordHasher, character_codes, word_pattern
from data_pipeline.native import kernels

_SECOND = np.uint64(0xC2B2_AE3D_27D4_EB4F)
_AFTER = re.compile(r"[^\w\s]*")
_LINE_END = re.compile(r"[^\S\n]*(?:\n|\Z)")


class Windows:
    """Windows of `min_words` words of a text and their landmarks."""

    def __init__(self, config: SubstringConfig) -> None:
        self.size = config.min_words
        self.run = config.min_words // 2
        self._words = WordHasher(MinHashConfig(lowercase=False))
        none = np.empty(0, dtype=np.uint32)
        self._native = kernels and kernels.MinHash(character_codes(False, False), 1, none, none)

    def landmarks(self, text: str) -> np.ndarray:
        """uint64: the landmark hashes of `text`, once for each place at which one stands."""
        runs, chosen = self._choose(self._hash_words(text))
        return runs[np.unique(chosen)]

    def hashes(self, text: str, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 [W] first words of the windows whose landmark is in uint64 `landmarks`, and their hashes, two uint64
        [W]."""
        words = self._hash_words(text)
        runs, chosen = self._choose(words)
        starts = np.flatnonzero(np.isin(runs[chosen], landmarks)) if len(chosen) else chosen
        if len(starts) == 0:
            return starts, np.empty(0, np.uint64), np.empty(0, np.uint64)
        return starts, run_hashes(words, self.size)[starts], run_hashes((words ^ _SECOND) * _SECOND, self.size)[starts]

    def _hash_words(self, text: str) -> np.ndarray:
        return self._words.hashes(text) if self._native is None else np.asarray(self._native.word_hashes(text))

    def _choose(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint64 hashes of all runs, and int64 [windows] the run that is each window's landmark."""
        if len(words) < self.size:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        runs = run_hashes(words, self.run)
        windows = np.lib.stride_tricks.sliding_window_view(runs, self.size - self.run + 1)
        return runs, windows.argmin(axis=1) + np.arange(len(windows))

    def spans(self, text: str, starts: np.ndarray) -> list[tuple[int, int]]:
        """Character spans of the windows that begin at the words `starts` (ascending), joined where they touch.

        A span takes along the punctuation that follows it and, where it fills a line, the line break.
        """
        places = [match.span() for match in word_pattern().finditer(text)]
        spans = []
        for first, last in self._joined(starts.tolist()):
            start, end = places[first][0], places[last - 1][1]
            follows = _AFTER.match(text, end)
            end = follows.end() if follows else end
            line = _LINE_END.match(text, end)
            if line and not text[text.rfind("\n", 0, start) + 1 : start].strip():
                end = line.end()
            elif end < len(text) and text[end] == " " and (start == 0 or text[start - 1].isspace()):
                end += 1
            spans.append((start, end))
        return spans

    def _joined(self, starts: list[int]) -> Iterator[tuple[int, int]]:
        begin, end = starts[0], starts[0] + self.size
        for start in starts[1:]:
            if start > end:
                yield begin, end
                begin = start
            end = start + self.size
        yield begin, end


def repeated_landmarks(found: Sorter, space: Space) -> Sorter:
    """Records (row, hash) of the landmarks that occur more than once, from records (hash, row) of all of them."""
    again = space.sorter(16, unique=True)
    last = np.empty((0, 16), dtype=np.uint8)
    for records in found.chunks():
        records = np.concatenate([last, records])
        keys = numbers(records, 0)
        first = starts_of_groups(keys)
        repeated = ~first
        repeated[:-1] |= ~first[1:]
        again.add(pack(numbers(records[repeated], 8), keys[repeated]))
        last = records[-1:]
    return again


def repeated_windows(found: Sorter, space: Space) -> Sorter:
    """Records (row, first word) of all but the best occurrence of each window, from records (two hashes, rank, row,
    first word)."""
    repeats = space.sorter(16, unique=True)
    last = np.empty((0, 40), dtype=np.uint8)
    for records in found.chunks():
        before, records = len(last), np.concatenate([last, records])
        first = starts_of_groups(numbers(records, 0), numbers(records, 8))
        first[:before] = True  # decided with the piece before
        again = records[~first]
        repeats.add(pack(numbers(again, 24), numbers(again, 32)))
        last = records[-1:]
    return repeats
