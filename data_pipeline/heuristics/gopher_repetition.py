"""Gopher's repetition rules (Rae et al. 2021, "Scaling Language Models", table A1)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from datatrove.data import Document
from pydantic import Field

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.heuristics.tokenise import words_of
from millbase.config import Config

_PARAGRAPHS = re.compile(r"\n{2,}")
_LINES = re.compile(r"\n+")


class GopherRepetitionConfig(Config):
    """Drops documents that repeat lines, paragraphs or word sequences. A null share switches its rule off."""

    enabled: bool = True
    """Whether to apply these rules."""
    dup_para_frac: float | None = Field(default=0.3, ge=0, le=1)
    """Largest share of paragraphs that repeat an earlier one."""
    dup_para_char_frac: float | None = Field(default=0.2, ge=0, le=1)
    """Largest share of characters in such paragraphs."""
    dup_line_frac: float | None = Field(default=0.3, ge=0, le=1)
    """Largest share of lines that repeat an earlier one."""
    dup_line_char_frac: float | None = Field(default=0.2, ge=0, le=1)
    """Largest share of characters in such lines."""
    top_n_grams: list[tuple[int, float]] = [(2, 0.2), (3, 0.18), (4, 0.16)]
    """(n, share): largest share of characters in the most frequent n-gram."""
    dup_n_grams: list[tuple[int, float]] = [(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)]
    """(n, share): largest share of characters in n-grams that occurred before, each character counted once."""


class GopherRepetitionFilter(CorpusStep):
    """Same decisions as datatrove's GopherRepetitionFilter on the same words."""

    name = "👯 Gopher repetition"
    step_name = "gopher_repetition"

    def __init__(self, config: GopherRepetitionConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config

    def judge(self, document: Document) -> Drop | None:
        """Reasons: `empty`, `dup_para_frac`, ..., `top_2_gram`, ..., `dup_5_gram`, ..."""
        text, config = document.text, self.config
        if not text:
            return Drop("empty")
        for what, parts in (("para", _PARAGRAPHS.split(text.strip())), ("line", _LINES.split(text))):
            elements, characters = duplicates(parts)
            limits = (
                (config.dup_para_frac, config.dup_para_char_frac)
                if what == "para"
                else (config.dup_line_frac, config.dup_line_char_frac)
            )
            for name, value, limit in (
                (f"dup_{what}_frac", elements / len(parts), limits[0]),
                (f"dup_{what}_char_frac", characters / len(text), limits[1]),
            ):
                if limit and value > limit:
                    return Drop(name, value, limit)
        return self._judge_n_grams(words_of(document), len(text))

    def _judge_n_grams(self, words: list[str], length: int) -> Drop | None:
        # Counting n-grams is most of the work of all heuristics; bounds from shorter n-grams spare it nearly always.
        # `longest[k]`, the characters of the k longest words, bounds those of any k words.
        longest = list(accumulate(sorted(map(len, words), reverse=True), initial=0))
        count = len(words)
        for n, limit in sorted(self.config.top_n_grams):
            # The most frequent n-gram is no more frequent than the most frequent shorter one.
            if count * (longest[min(n, len(words))] + n - 1) <= limit * length:
                continue
            gram, count = top_n_gram(words, n)
            value = (sum(map(len, gram)) + n - 1) * count / length
            if value > limit:
                return Drop(f"top_{n}_gram", value, limit)
        repeats = len(words)
        for n, limit in sorted(self.config.dup_n_grams):
            # No position repeats an n-gram that does not repeat a shorter one; those found share no word.
            if longest[min(repeats * n, len(words))] <= limit * length:
                continue
            repeats = max(0, len(words) - n + 1) - len(set(n_grams(words, n)))
            if longest[min(repeats * n, len(words))] <= limit * length:
                continue
            value = duplicate_n_gram_characters(words, n) / length
            if value > limit:
                return Drop(f"dup_{n}_gram", value, limit)
        return None


def duplicates(parts: Sequence[str]) -> tuple[int, int]:
    """Number of elements that repeat an earlier one, and the characters in them."""
    if len(set(parts)) == len(parts):
        return 0, 0
    seen: set[str] = set()
    elements = characters = 0
    for part in parts:
        if part in seen:
            elements += 1
            characters += len(part)
        seen.add(part)
    return elements, characters


def top_n_gram(words: list[str], n: int) -> tuple[tuple[str, ...], int]:
    """The most frequent n-gram, the first one on a tie, and how often it occurs; ((), 0) where there is none."""
    counts = Counter(n_grams(words, n))
    return max(counts.items(), key=lambda item: item[1], default=((), 0))


def duplicate_n_gram_characters(words: list[str], n: int) -> int:
    """Characters in n-grams that occurred before, scanning left to right and skipping past each one found."""
    grams = ["".join(gram) for gram in n_grams(words, n)]  # joined, as datatrove compares them
    seen: set[str] = set()
    characters = position = 0
    while position < len(grams):
        gram = grams[position]
        if gram in seen:
            characters += len(gram)
            position += n
        else:
            seen.add(gram)
            position += 1
    return characters


def n_grams(words: list[str], n: int) -> Iterable[tuple[str, ...]]:
    """All runs of `n` words, in order."""
    return zip(*(words[start:] for start in range(n)), strict=False)
