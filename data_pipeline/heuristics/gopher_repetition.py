"""Gopher's repetition rules (Rae et al. 2021, "Scaling Language Models", table A1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from datatrove.data import Document
from pydantic import Field, model_validator

from data_pipeline.base import DropLog, Measure
from data_pipeline.base.rules import RuleFilter, at_least, at_most
from data_pipeline.heuristics.compat import Compat, datatrove_words, fill_published
from data_pipeline.heuristics.languages import language_of
from data_pipeline.heuristics.lines import duplicates
from data_pipeline.heuristics.tokenise import TokensLike, tokens_of
from millbase.config import Config

_PARAGRAPHS = re.compile(r"\n{2,}")


class GopherRepetitionConfig(Config):
    """Drops documents that repeat lines, paragraphs or word sequences. A null share switches its rule off."""

    enabled: bool = True
    """Whether to apply these rules."""
    compat: Compat | None = None
    """`datatrove`: datatrove's limits for every field not set, and its words."""
    dup_para_frac: float | None = Field(default=0.5, ge=0, le=1)
    """Largest share of paragraphs that repeat an earlier one. Gopher: 0.3."""
    dup_para_char_frac: float | None = Field(default=0.3, ge=0, le=1)
    """Largest share of characters in such paragraphs. Gopher: 0.2."""
    dup_line_frac: float | None = Field(default=0.5, ge=0, le=1)
    """Largest share of lines that repeat an earlier one. Gopher: 0.3, which drops a quarter of documentation pages."""
    dup_line_char_frac: float | None = Field(default=0.3, ge=0, le=1)
    """Largest share of characters in such lines. Gopher: 0.2."""
    top_n_grams: list[tuple[int, float]] = [(2, 0.2), (3, 0.18), (4, 0.16)]
    """(n, share): largest share of characters in the most frequent n-gram of words."""
    dup_n_grams: list[tuple[int, float]] = [(5, 0.225), (6, 0.21), (7, 0.195), (8, 0.18), (9, 0.165), (10, 0.15)]
    """(n, share): largest share of characters in n-grams that occurred before, each character counted once. Gopher: two
    thirds of these limits, which drop a fifth of documentation pages."""

    @model_validator(mode="before")
    @classmethod
    def _published(cls, values: Any) -> Any:
        return fill_published("gopher_repetition", values)


class GopherRepetitionFilter(RuleFilter):
    """Same decisions as datatrove's GopherRepetitionFilter on the same words, but for scripts without blanks: there an
    n-gram of words is one of as many letters as make n words of the language."""

    name = "👯 Gopher repetition"
    step_name = "gopher_repetition"

    def __init__(self, config: GopherRepetitionConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config

    def rules(self, document: Document) -> Iterator[Measure]:
        """`empty`, `dup_para_frac`, `dup_para_char_frac`, `dup_line_frac`, ..., `top_2_gram`, ..., `dup_5_gram`, ..."""
        text, config = document.text, self.config
        if not text:
            yield at_least("empty", 0, 1)
            return
        yield from _repeated("para", paragraphs(text), text, config)
        yield from _repeated("line", lines(text), text, config)
        if config.compat:
            tokens: TokensLike = datatrove_words(document)
            scale = lambda n: n  # noqa: E731
        else:
            tokens, scale = tokens_of(document), language_of(document).n
        for n, limit in config.top_n_grams:
            characters, count = tokens.top_n_gram(scale(n))
            yield at_most(f"top_{n}_gram", characters * count / len(text), limit)
        for n, limit in config.dup_n_grams:
            yield at_most(f"dup_{n}_gram", tokens.duplicate_n_gram_characters(scale(n)) / len(text), limit)


def paragraphs(text: str) -> list[str]:
    """What stands between blank lines, as `re.split(r"\n{2,}", text.strip())` gives it."""
    text = text.strip()
    return _PARAGRAPHS.split(text) if "\n\n\n" in text else text.split("\n\n")


def lines(text: str) -> list[str]:
    """What stands between newlines, as `re.split(r"\n+", text)` gives it, in a quarter of the time."""
    parts = [part for part in text.split("\n") if part]
    return [""] * text.startswith("\n") + parts + [""] * text.endswith("\n")


def _repeated(what: str, parts: list[str], text: str, config: GopherRepetitionConfig) -> Iterator[Measure]:
    """The two rules on parts that repeat an earlier one."""
    elements, characters = duplicates(parts)
    limits: tuple[float | None, float | None] = (
        (config.dup_para_frac, config.dup_para_char_frac)
        if what == "para"
        else (config.dup_line_frac, config.dup_line_char_frac)
    )
    if limits[0]:
        yield at_most(f"dup_{what}_frac", elements / len(parts), limits[0])
    if limits[1]:
        yield at_most(f"dup_{what}_char_frac", characters / len(text), limits[1])
