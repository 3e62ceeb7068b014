"""FineWeb's own rules (Penedo et al. 2024, section 3.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datatrove.data import Document
from pydantic import Field, model_validator

from data_pipeline.base import DropLog, Measure
from data_pipeline.base.rules import RuleFilter, at_least, at_most
from data_pipeline.heuristics.compat import Compat, datatrove_words, fill_published
from data_pipeline.heuristics.languages import language_of
from data_pipeline.heuristics.lines import line_shape
from data_pipeline.heuristics.tokenise import tokens_of
from millbase.config import Config


class FineWebConfig(Config):
    """Drops documents that look like lists rather than prose. A null limit switches its rule off."""

    enabled: bool = True
    """Whether to apply these rules."""
    compat: Compat | None = None
    """`datatrove`: datatrove's limits for every field not set, and its words."""
    min_line_punctuation: float | None = Field(default=0.05, ge=0, le=1)
    """Smallest share of lines that end in a terminal mark. FineWeb: 0.12, which drops a sixth of documentation."""
    max_short_lines: float | None = Field(default=0.67, ge=0, le=1)
    """Largest share of short lines."""
    short_line_characters: int = Field(default=30, ge=1)
    """Lines up to this long are short."""
    max_duplicate_line_characters: float | None = Field(default=0.2, ge=0, le=1)
    """Largest share of characters in lines that repeat an earlier one. FineWeb: 0.01, which drops half of forum and
    documentation pages; FineWeb 2: 0.1."""
    max_newlines_per_word: float | None = Field(default=0.4, ge=0)
    """Most newlines per word. FineWeb: 0.3."""

    @model_validator(mode="before")
    @classmethod
    def _published(cls, values: Any) -> Any:
        return fill_published("fineweb", values)


class FineWebFilter(RuleFilter):
    """Same decisions as datatrove's FineWebQualityFilter on the same words."""

    name = "🍷 FineWeb"
    step_name = "fineweb"

    def __init__(self, config: FineWebConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config

    def rules(self, document: Document) -> Iterator[Measure]:
        """`empty`, `line_punctuation`, `short_lines`, `duplicate_lines`, `newlines`."""
        text, config = document.text, self.config
        shape = line_shape(text, config.short_line_characters)
        if not shape.lines:
            yield at_least("empty", 0, 1)
            return
        if config.min_line_punctuation and (config.compat or language_of(document).sentence_marks):
            yield at_least("line_punctuation", shape.terminal / shape.lines, config.min_line_punctuation)
        if config.max_short_lines is not None:
            yield at_most("short_lines", shape.short / shape.lines, config.max_short_lines)
        if config.max_duplicate_line_characters is not None:
            share = shape.duplicate_characters / (len(text) - shape.newlines)
            yield at_most("duplicate_lines", share, config.max_duplicate_line_characters)
        if config.max_newlines_per_word is not None:
            if config.compat:
                words: float = len(datatrove_words(document))
            else:
                words = len(tokens_of(document)) / language_of(document).units_per_word
            yield at_most("newlines", shape.newlines / max(words, 1), config.max_newlines_per_word)
