"""Words of a text for shingling, and their 64-bit hashes.

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


_SEED = 0x9FB21C651E98DF25
_MIX = 0xD6E8FEB86659FD93
_MASK = (1 << 64) - 1
_CONTEXT = "\u0130\u03a3"  # lower-cased to two characters, or according to the neighbours


class _WordHashes(dict[str, int]):
    """word -> `word_hash`; a cache, since a corpus repeats few distinct words many times."""

    def __missing__(self, word: str) -> int:
        value = self[word] = word_hash(word)
        return value


def word_hash(word: str) -> int:
    """Sum over the word's code points, each times an odd factor for its place, modulo 2^64 (multilinear hashing), as
    the native extension computes it."""
    return sum((ord(character) + 1) * _factor(place) for place, character in enumerate(word)) & _MASK


@cache
def _factor(place: int) -> int:
    value = (_SEED + place) & _MASK
    for _ in range(2):
        value = ((value ^ value >> 32) * _MIX) & _MASK
    return (value ^ value >> 32) | 1


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


_FORMS_END = 0x20000
"""Beyond the first two planes are ideographs and marks, which have neither case nor digits."""


@cache
def character_codes(lowercase: bool, fold_digits: bool) -> np.ndarray:
    """uint32 [0x110000]: for each code point its normalised form times 4, plus its kind as in `character_kinds`, or
    plus 3 where the form depends on the neighbours and `WordHasher.normalise` must be called first."""
    points = np.arange(0x110000, dtype=np.uint32)
    kinds = np.frombuffer(character_kinds(), dtype=np.uint8)
    forms = points.copy()
    context = np.array([ord(character) for character in _CONTEXT])
    with_forms = points[:_FORMS_END]
    if lowercase:
        others = np.delete(with_forms, context)
        lower = "".join(map(chr, others.tolist())).lower().encode("utf-32-le", "surrogatepass")
        forms[others] = np.frombuffer(lower, dtype="<u4")
    if fold_digits:
        characters = "".join(map(chr, with_forms.tolist()))
        forms[[match.start() for match in _DIGITS.finditer(characters)]] = ord("0")
    codes = forms * 4 + kinds[forms]
    if lowercase:
        codes[context] |= 3
    return np.asarray(codes, dtype=np.uint32)


def word_pattern() -> re.Pattern[str]:
    """Finds the words of a text that is normalised already, or compared as it stands."""
    return _WORD


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
