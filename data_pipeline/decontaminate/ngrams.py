"""Words of a text with their places, and runs of words looked up in a set: the hot loop of decontamination.

Characters are lower-cased one by one, so that places stay those of the text; a word is what MinHash takes for one: a
run of characters that are neither white space nor punctuation, or a single Han or kana character. A run of words is
known by a 64-bit hash of its words and its length. `finder` gives the native extension's implementation where there is
one; `PlainFinder` is its reference.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from data_pipeline.minhash.words import character_kinds
from data_pipeline.native import kernels

_MASK = (1 << 64) - 1
_PRIME = (1 << 61) - 1
_WORD_BASE = 0x12B5_D0A3_F4C6_9E27 % _PRIME
_RUN_BASE = 0x9E37_79B9_7F4A_7C15
_LENGTH_BASE = 0xC2B2_AE3D_27D4_EB4F
_MIX = np.uint64(0xD6E8_FEB8_6659_FD93)
_SHIFT = np.uint64(32)
_RUN_OF_KINDS = re.compile(b"\x02|\x01+")  # see character_kinds


class PlacedWords(NamedTuple):
    """The words of a text in order."""

    hashes: np.ndarray
    """uint64 [W]"""
    starts: np.ndarray
    """int64 [W] first character of each word."""
    ends: np.ndarray
    """int64 [W] the character after each word."""


class Finder(Protocol):
    """Finds runs of words in texts. Built from distinct uint64 [K] keys and the uint32 [K] lengths of their runs."""

    def words(self, text: str) -> PlacedWords | tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hashes and places of the words, as `PlacedWords`."""

    def find(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(int64 first word, int64 row of the keys) of every run in the set, by place and then by length."""

    def find_lines(self, text: str, min_words: int) -> tuple[np.ndarray, np.ndarray]:
        """The same for whole lines of at least `min_words` words."""


class PlainFinder:
    """`Finder` in Python and numpy."""

    def __init__(self, keys: np.ndarray, lengths: np.ndarray) -> None:
        self._rows = {int(key): row for row, key in enumerate(keys)}
        self._lengths = sorted({int(length) for length in lengths})

    def words(self, text: str) -> PlacedWords:
        return place_words(text)

    def find(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        words = place_words(text)
        found = []
        for length in self._lengths:
            keys = run_keys(words.hashes, length)
            found += [(i, length, self._rows[key]) for i, key in enumerate(keys.tolist()) if key in self._rows]
        found.sort()
        return _columns([(place, row) for place, _, row in found])

    def find_lines(self, text: str, min_words: int) -> tuple[np.ndarray, np.ndarray]:
        found, first = [], 0
        for line in text.split("\n"):
            hashes = place_words(line).hashes
            if len(hashes) and len(hashes) >= min_words:
                key = int(run_keys(hashes, len(hashes))[0])
                if key in self._rows:
                    found.append((first, self._rows[key]))
            first += len(hashes)
        return _columns(found)


def finder(keys: np.ndarray, lengths: np.ndarray) -> Finder:
    """The fastest `Finder` there is here."""
    if kernels is None:
        return PlainFinder(keys, lengths)
    native: Finder = kernels.NgramIndex(character_kinds(), keys, lengths)
    return native


def place_words(text: str) -> PlacedWords:
    """The words of `text`, in plain Python."""
    lowered = text.lower() if text.isascii() else text.translate(_lower_table())
    kinds = character_kinds()
    spans = [match.span() for match in _RUN_OF_KINDS.finditer(bytes(kinds[ord(character)] for character in lowered))]
    places = np.array(spans, dtype=np.int64).reshape(-1, 2)
    hashes = np.fromiter((_hash(lowered[start:end]) for start, end in spans), np.uint64, count=len(spans))
    return PlacedWords(hashes, places[:, 0], places[:, 1])


def run_keys(hashes: np.ndarray, length: int) -> np.ndarray:
    """uint64 [max(0, W - length + 1)] keys of all runs of `length` words, from uint64 [W] word hashes.

    A run's key is the polynomial of its word hashes modulo 2^64, plus a multiple of its length, mixed.
    """
    if len(hashes) < length:
        return np.empty(0, dtype=np.uint64)
    prefix = [0]
    for value in hashes.tolist():
        prefix.append((prefix[-1] * _RUN_BASE + value) & _MASK)
    prefixes = np.array(prefix, dtype=np.uint64)
    keys = prefixes[length:] - prefixes[:-length] * np.uint64(pow(_RUN_BASE, length, 1 << 64))
    keys = keys + np.uint64(length * _LENGTH_BASE & _MASK)
    for _ in range(2):
        keys ^= keys >> _SHIFT
        keys *= _MIX
    return np.asarray(keys ^ (keys >> _SHIFT))


@cache
def _lower_table() -> dict[int, str]:
    """Code point -> the first character of its lower case, where that is another one."""
    table = {}
    for code in range(0x110000):
        lowered = chr(code).lower()
        if lowered != chr(code):
            table[code] = lowered[0]
    return table


@lru_cache(maxsize=1 << 18)
def _hash(word: str) -> int:
    """Polynomial in the word's code points modulo 2^61 - 1."""
    value = 0
    for character in word:
        value = (value * _WORD_BASE + ord(character) + 1) % _PRIME
    return value


def _columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    places, rows = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(places, dtype=np.int64), np.array(rows, dtype=np.int64)
