"""Paragraphs that stand in several documents of the corpus: which documents lose which of them.

Every document leaves the hashes of its paragraphs. Sorted by hash and then by preference, the documents that hold a
paragraph stand side by side, best first; all but the first `keep` of more than `max_documents` lose it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import xxhash

from data_pipeline.base.sorting import Sorter, Space, numbers, pack, starts_of_groups
from data_pipeline.dedup.config import ParagraphConfig
from data_pipeline.minhash import MinHashConfig
from data_pipeline.minhash.words import WordHasher

_LINE = re.compile(r"[^\n]+\n?")
_BLOCK = re.compile(r"^[^\S\n]*\S[^\n]*(?:\n[^\S\n]*\S[^\n]*)*\n?", re.MULTILINE)
_WORDS = WordHasher(MinHashConfig())


def paragraphs(text: str, config: ParagraphConfig) -> Iterator[tuple[int, int, int]]:
    """(hash, start, end) of each paragraph that is compared, with the line break that ends it."""
    for match in (_LINE if config.unit == "line" else _BLOCK).finditer(text):
        words = _WORDS.words(match.group())
        if len(words) >= config.min_words:
            name = " ".join(words).encode("utf-8", "surrogatepass")
            yield xxhash.xxh3_64_intdigest(name), match.start(), match.end()


def paragraph_hashes(text: str, config: ParagraphConfig) -> np.ndarray:
    """uint64 [paragraphs] hashes of the different paragraphs that are compared, in order of value."""
    return np.unique(np.array([found for found, _, _ in paragraphs(text, config)], dtype=np.uint64))


def repeated_paragraphs(found: Sorter, config: ParagraphConfig, space: Space) -> Sorter:
    """Records (row, hash) of the paragraphs that documents lose, from records (hash, rank, row) of all they hold."""
    lost = space.sorter(16, unique=True)
    limit = config.max_documents
    pending = np.empty((0, 24), dtype=np.uint8)  # of the last hash, while it may yet turn out not to be too frequent
    last, places = np.int64(0), 0  # the last hash and how many records of it went by before `pending`
    for records in found.chunks():
        records = np.concatenate([pending, records])
        keys = numbers(records, 0)
        first = np.flatnonzero(starts_of_groups(keys))
        sizes = np.diff(np.append(first, len(keys)))
        before = np.zeros(len(first), dtype=np.int64)
        before[0] = places if keys[0] == last else 0
        place = np.arange(len(keys)) - np.repeat(first - before, sizes)
        often = np.repeat(before + sizes > limit, sizes)
        gone = often & (place >= config.keep)
        lost.add(pack(numbers(records[gone], 16), keys[gone]))
        undecided = before[-1] + sizes[-1] <= limit
        pending = records[first[-1] :] if undecided else records[:0]
        last, places = keys[-1], int(before[-1] if undecided else before[-1] + sizes[-1])
    return lost


def spans_of(text: str, hashes: np.ndarray, config: ParagraphConfig) -> list[tuple[int, int]]:
    """Where the paragraphs of these hashes (int64 or uint64) stand in `text`."""
    wanted = set(hashes.view(np.uint64).tolist())
    return [(start, end) for found, start, end in paragraphs(text, config) if found in wanted]
