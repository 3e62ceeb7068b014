"""MinHash signatures: for each of P random hash functions, the smallest hash of a document's shingles.

Two documents' signatures agree in an entry with probability equal to the Jaccard similarity of their shingle sets
(Broder, "On the resemblance and containment of documents", 1997). The functions are x -> a x + b mod 2^32 with odd a,
applied to shingle hashes that a finaliser has already made uniform, which is all that linear hashing lacks. With n
shingles, two entries agree by chance with probability about n / 2^32: 2e-7 for a page of a thousand words.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xxhash

from data_pipeline.minhash.config import MinHashConfig
from data_pipeline.minhash.words import WordHasher, character_codes
from data_pipeline.native import kernels

EMPTY = np.uint32(0xFFFF_FFFF)
"""Every entry of the signature of a document without words."""

_BASE = np.uint64(0x9E37_79B9_7F4A_7C15)  # 2^64 / golden ratio, odd: base of the polynomial over word hashes
_MIX = np.uint64(0xD6E8_FEB8_6659_FD93)  # multiplier of the rrxmrrxmsx-style finaliser (Evensen 2018)
_BLOCK = 4096  # shingles handled at a time; 16 kB of hashes stay in the first-level cache over all permutations


class MinHasher:
    """Computes signatures; the result depends on the text and the config only, never on what is batched together.

    With the native extension, threads may share one hasher and run side by side.
    """

    def __init__(self, config: MinHashConfig) -> None:
        self.config = config
        self._words = WordHasher(config)
        self._multipliers, self._offsets = _hash_functions(config.permutations, config.seed)
        self._native: Any = None
        if kernels is not None:
            codes = character_codes(config.lowercase, config.fold_digits)
            self._native = kernels.MinHash(codes, config.shingle_words, self._multipliers, self._offsets)

    def signatures(self, texts: Sequence[str]) -> np.ndarray:
        """uint32 [N, permutations] of N texts; a text without words gets a row of `EMPTY`."""
        result = np.empty((len(texts), self.config.permutations), dtype=np.uint32)
        if self._native is None:
            for row, text in enumerate(texts):
                result[row] = self.plain_signature(text)
            return result
        if self.config.strip_accents:
            texts = [text if text.isascii() else self._words.normalise(text) for text in texts]
        for row in self._native.signatures(list(texts), result):
            # characters whose lower case depends on their neighbours: Python knows how
            self._native.signatures([self._words.normalise(texts[row])], result[row : row + 1])
        return result

    def plain_signature(self, text: str) -> np.ndarray:
        """uint32 [permutations] signature of one text in plain Python and numpy."""
        return self._signature(shingle_hashes(self._words.hashes(text), self.config.shingle_words))

    def shingles(self, text: str) -> set[tuple[str, ...]]:
        """The exact shingle set whose similarity the signatures estimate (slow; for explanations and tests)."""
        words, size = self._words.words(text), self.config.shingle_words
        if not words:
            return set()
        return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}

    def _signature(self, shingles: np.ndarray) -> np.ndarray:
        signature = np.full(self.config.permutations, EMPTY, dtype=np.uint32)
        buffer = np.empty(min(_BLOCK, len(shingles)), dtype=np.uint32)
        for start in range(0, len(shingles), _BLOCK):
            block = shingles[start : start + _BLOCK]
            values = buffer[: len(block)]
            for p in range(len(signature)):
                np.multiply(block, self._multipliers[p], out=values)
                np.add(values, self._offsets[p], out=values)
                signature[p] = min(signature[p], values.min())
        return signature


def shingle_hashes(words: np.ndarray, size: int) -> np.ndarray:
    """uint32 [max(1, W - size + 1)] hashes of the runs of `size` words from uint64 [W] word hashes; [0] when W = 0.

    A run is hashed as a polynomial in its word hashes, so all runs cost `size` vector operations.
    """
    if len(words) == 0:
        return words.astype(np.uint32)
    return (run_hashes(words, min(size, len(words))) >> np.uint64(32)).astype(np.uint32)


def run_hashes(words: np.ndarray, size: int) -> np.ndarray:
    """uint64 [W - size + 1] well-mixed hashes of the runs of `size` words from uint64 [W >= size] word hashes."""
    count = len(words) - size + 1
    hashes = np.full(count, size, dtype=np.uint64)  # the size keeps a short document apart from a longer one's shingle
    for offset in range(size):
        hashes *= _BASE
        hashes += words[offset : offset + count]
    for _ in range(2):
        hashes ^= hashes >> np.uint64(32)
        hashes *= _MIX
    return np.asarray(hashes ^ (hashes >> np.uint64(32)))


def estimated_jaccard(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 [N] estimates of Jaccard similarity between the rows of two uint32 [N, P] signature matrices.

    Unbiased, with standard error sqrt(J (1 - J) / P).
    """
    return np.asarray((left == right).mean(axis=1))


def _hash_functions(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint32 [count] odd multipliers and offsets, drawn by hashing so that no library's generator can change them."""
    draw = [xxhash.xxh3_64_intdigest(f"minhash {seed} {i}".encode()) >> 32 for i in range(2 * count)]
    multipliers, offsets = np.array(draw, dtype=np.uint32).reshape(2, count)
    return multipliers | np.uint32(1), offsets
