"""Words of a text for shingling, and their 64-bit hashes.

A word is a run of characters that are neither white space nor punctuation; each Han and kana character is a word of its
own, for those scripts are written without spaces. The separators are listed here rather than taken from `\\w`, so that
combining vowel signs stay inside their words and no result depends on the Unicode tables of the Python version (lower-
casing and accent stripping do, for newly assigned characters only).
"""

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import xxhash

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


class _WordHashes(dict[str, int]):
    """word -> xxh3_64 of its UTF-8 bytes; a cache, since a corpus repeats few distinct words many times."""

    def __missing__(self, word: str) -> int:
        # surrogatepass: text cut out of broken pages may hold lone surrogates, which plain UTF-8 refuses.
        value = self[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return value


class WordHasher:
    """Turns texts into arrays of word hashes under the normalisation of a `MinHashConfig`."""

    def __init__(self, config: MinHashConfig) -> None:
        self._config = config
        self._hashes = _WordHashes()

    def words(self, text: str) -> list[str]:
        """Normalised words of `text` in order."""
        config = self._config
        if config.lowercase:
            text = text.lower()
        if config.strip_accents and not text.isascii():
            text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        if config.fold_digits:
            text = _DIGITS.sub("0", text)
        return _WORD.findall(text)

    def hashes(self, text: str) -> np.ndarray:
        """uint64 [words]: the hash of each word of `text` in order."""
        return self._hash_words(self.words(text))

    def _hash_words(self, words: list[str]) -> np.ndarray:
        if len(self._hashes) > _CACHE_WORDS:  # only speed depends on what is cached
            self._hashes.clear()
        values: Iterable[int] = map(self._hashes.__getitem__, words)
        return np.fromiter(values, dtype=np.uint64, count=len(words))
