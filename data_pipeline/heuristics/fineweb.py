"""FineWeb's own rules (Penedo et al. 2024, section 3.6)."""

from __future__ import annotations

from datatrove.data import Document
from pydantic import Field

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.heuristics.lines import line_shape
from data_pipeline.heuristics.tokenise import tokens_of
from millbase.config import Config


class FineWebConfig(Config):
    """Drops documents that look like lists rather than prose. A null limit switches its rule off."""

    enabled: bool = True
    """Whether to apply these rules."""
    min_line_punctuation: float | None = Field(default=0.12, ge=0, le=1)
    """Smallest share of lines that end in a terminal mark."""
    max_short_lines: float | None = Field(default=0.67, ge=0, le=1)
    """Largest share of short lines."""
    short_line_characters: int = Field(default=30, ge=1)
    """Lines up to this long are short."""
    max_duplicate_line_characters: float | None = Field(default=0.01, ge=0, le=1)
    """Largest share of characters in lines that repeat an earlier one. FineWeb's 0.01 drops a quarter of forum and
    documentation pages; 0.1 keeps nearly all of them."""
    max_newlines_per_word: float | None = Field(default=0.3, ge=0)
    """Most newlines per word."""


class FineWebFilter(CorpusStep):
    """Same decisions as datatrove's FineWebQualityFilter on the same words."""

    name = "🍷 FineWeb"
    step_name = "fineweb"

    def __init__(self, config: FineWebConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config

    def judge(self, document: Document) -> Drop | None:
        """Reasons: `empty`, `line_punctuation`, `short_lines`, `duplicate_lines`, `newlines`."""
        text, config = document.text, self.config
        shape = line_shape(text, config.short_line_characters)
        if not shape.lines:
            return Drop("empty")
        if config.min_line_punctuation and (value := shape.terminal / shape.lines) < config.min_line_punctuation:
            return Drop("line_punctuation", value, config.min_line_punctuation)
        if config.max_short_lines is not None and (value := shape.short / shape.lines) > config.max_short_lines:
            return Drop("short_lines", value, config.max_short_lines)
        if config.max_duplicate_line_characters is not None:
            value = shape.duplicate_characters / (len(text) - shape.newlines)
            if value > config.max_duplicate_line_characters:
                return Drop("duplicate_lines", value, config.max_duplicate_line_characters)
        if config.max_newlines_per_word is not None:
            value = shape.newlines / max(len(tokens_of(document)), 1)
            if value > config.max_newlines_per_word:
                return Drop("newlines", value, config.max_newlines_per_word)
        return None
