"""Words of a text for shingling, and their 61-bit hashes.

A word is a run of characters that are neither white space nor punctuation; each Han and kana character is a word of its
own, for those scripts are written without spaces. The separators are listed here rather than taken from `\\w`, so that
combining vowel signs stay inside their words and no result depends on the Unicode tables of the Python version (lower-
casing and accent stripping do, for newly assigned characters only).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from data_pipeline.minhash.config import MinHashConfig

_CJK = (
    "\u3041-\u3096\u30a1-\u30fa\u30fc-\u30fe\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
)
_SEPARATORS = (
    "\x00-/:-@\\[-`{-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb\xbf\xd7\xf7"  # ASCII and Latin-1
    "\u037e\u0387\u055a-\u055f\u0589\u058a\u05be\u05c0\u05c3\u05f3\u05f4"  # Greek, Armenian, Hebrew
    "\u060c\u061b\u061e\u061f\u066a-\u066d\u06d4\u0964\u0965\u0e2f\u0e5a\u0e5b"  # Arabic, Devanagari, Thai
    "\u1680\u2000-\u206f\u2190-\u23ff\u2500-\u27bf\u2e00-\u2e7f"  # spaces, general punctuation, arrows, shapes
    "\u3000-\u3004\u3008-\u3020\u3030\u30a0\u30fb\ufe10-\ufe19\ufe30-\ufe6b\ufeff"  # CJK and vertical punctuation
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\ufffc\ufffd"  # full-width forms
)
_WORD = re.compile(f"[{_CJK}]|[^{_SEPARATORS}{_CJK}]+")
_DIGITS = re.compile(r"\d")
_CACHE_WORDS = 1 << 18


_PRIME = (1 << 61) - 1
_BASE = 0x12B5D0A3F4C69E27 % _PRIME


class _WordHashes(dict[str, int]):
    """word -> `word_hash`; a cache, since a corpus repeats few distinct words many times."""

    def __missing__(self, word: str) -> int:
        value = self[word] = word_hash(word)
        return value


def word_hash(word: str) -> int:
    """Polynomial in the word's code points modulo 2^61 - 1, as the native extension computes it."""
    value = 0
    for character in word:
        value = (value * _BASE + ord(character) + 1) % _PRIME
    return value


@cache
def character_kinds() -> bytes:
    """One byte for each code point: 0 separates words, 1 is part of a word, 2 is a word of its own."""
    kinds = bytearray(b"\1") * 0x110000
    for characters, kind in ((_SEPARATORS, b"\0"), (_CJK, b"\2")):
        for first, last in _ranges(characters):
            kinds[first : last + 1] = kind * (last + 1 - first)
    return bytes(kinds)


def _ranges(characters: str) -> Iterator[tuple[int, int]]:
    """First and last code point of each part of a regular expression's character class."""
    for first, last in re.findall(r"\\?(.)(?:-\\?(.))?", characters, re.DOTALL):
        yield ord(first), ord(last or first)


class WordHasher:
    """Turns texts into arrays of word hashes under the normalisation of a `MinHashConfig`."""

    def __init__(self, config: MinHashConfig) -> None:
        self._config = config
        self._hashes = _WordHashes()

    def normalise(self, text: str) -> str:
        """`text` with the differences taken out that the configuration ignores."""
        config = self._config
        if config.lowercase:
            text = text.lower()
        if config.strip_accents and not text.isascii():
            text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        if config.fold_digits:
            text = _DIGITS.sub("0", text)
        return text

    def words(self, text: str) -> list[str]:
        """Normalised words of `text` in order."""
        return _WORD.findall(self.normalise(text))

    def hashes(self, text: str) -> np.ndarray:
        """uint64 [words]: the hash of each word of `text` in order."""
        return self._hash_words(self.words(text))

    def _hash_words(self, words: list[str]) -> np.ndarray:
        if len(self._hashes) > _CACHE_WORDS:  # only speed depends on what is cached
            self._hashes.clear()
        values: Iterable[int] = map(self._hashes.__getitem__, words)
        return np.fromiter(values, dtype=np.uint64, count=len(words))
