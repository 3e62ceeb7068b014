"""Gopher's repetition rules (Rae et al. 2021, "Scaling Language Models", table A1)."""

from __future__ import annotations

import re

from datatrove.data import Document
from pydantic import Field

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.heuristics.lines import duplicates
from data_pipeline.heuristics.tokenise import TokensLike, tokens_of
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
        return self._judge_n_grams(tokens_of(document), len(text))

    def _judge_n_grams(self, tokens: TokensLike, length: int) -> Drop | None:
        for n, limit in self.config.top_n_grams:
            characters, count = tokens.top_n_gram(n)
            if (value := characters * count / length) > limit:
                return Drop(f"top_{n}_gram", value, limit)
        for n, limit in self.config.dup_n_grams:
            if (value := tokens.duplicate_n_gram_characters(n) / length) > limit:
                return Drop(f"dup_{n}_gram", value, limit)
        return None
