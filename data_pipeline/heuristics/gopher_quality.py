"""Gopher's quality rules (Rae et al. 2021, appendix A.1.1).

Differs from datatrove in one rule unless `alpha_words: tokens` is set: the share of words with a letter is taken over
words separated by white space, as in the paper. datatrove counts punctuation marks as words too; of 66 human-reviewed
articles that this drops, the paper's rule keeps 62.
"""

from __future__ import annotations

from typing import Literal

from datatrove.data import Document
from datatrove.utils.text import PUNCTUATION_SET
from pydantic import Field

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.heuristics.tokenise import words_of
from millbase.config import Config


class GopherQualityConfig(Config):
    """Drops documents whose words and lines look unlike prose. A null limit switches its rule off."""

    enabled: bool = True
    """Whether to apply these rules."""
    min_words: int | None = Field(default=50, ge=1)
    """Fewest words, punctuation not counted."""
    max_words: int | None = Field(default=100_000, ge=1)
    """Most words, punctuation not counted."""
    min_mean_word_length: float | None = Field(default=3, gt=0)
    """Smallest mean length of words."""
    max_mean_word_length: float | None = Field(default=10, gt=0)
    """Largest mean length of words."""
    max_symbol_word_ratio: float | None = Field(default=0.1, ge=0)
    """Most hash signs, and most ellipses, per word."""
    max_bullet_lines: float | None = Field(default=0.9, ge=0, le=1)
    """Largest share of lines that start with a bullet."""
    max_ellipsis_lines: float | None = Field(default=0.3, ge=0, le=1)
    """Largest share of lines that end in an ellipsis."""
    min_alpha_words: float | None = Field(default=0.8, ge=0, le=1)
    """Smallest share of words with at least one letter."""
    alpha_words: Literal["whitespace", "tokens"] = "whitespace"
    """What counts as a word in that share: runs between white space (the paper), or tokens, punctuation marks among
    them (datatrove)."""
    min_stop_words: int | None = Field(default=2, ge=0)
    """Fewest different stop words; set to null for languages other than that of `stop_words`."""
    stop_words: list[str] = ["the", "be", "to", "of", "and", "that", "have", "with"]
    """The stop words."""


class GopherQualityFilter(CorpusStep):
    """Same decisions as datatrove's GopherQualityFilter on the same words, but for the module's difference."""

    name = "🥇 Gopher quality"
    step_name = "gopher_quality"

    def __init__(self, config: GopherQualityConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self._stop_words = frozenset(config.stop_words)

    def judge(self, document: Document) -> Drop | None:
        """Reasons: `too_few_words`, `too_many_words`, `short_words`, `long_words`, `hashes`, `ellipses`,
        `bullet_lines`, `ellipsis_lines`, `few_alpha_words`, `few_stop_words`."""
        text, config = document.text, self.config
        words = words_of(document)
        is_symbol = PUNCTUATION_SET.issuperset
        lengths = [len(word) for word in words if not is_symbol(word)]
        count = len(lengths)
        if config.min_words and count < config.min_words:
            return Drop("too_few_words", count, config.min_words)
        if config.max_words and count > config.max_words:
            return Drop("too_many_words", count, config.max_words)
        mean = sum(lengths) / max(count, 1)
        if config.min_mean_word_length and mean < config.min_mean_word_length:
            return Drop("short_words", mean, config.min_mean_word_length)
        if config.max_mean_word_length and mean > config.max_mean_word_length:
            return Drop("long_words", mean, config.max_mean_word_length)
        return (
            self._judge_symbols(text, max(len(words), 1))
            or self._judge_lines(text.splitlines())
            or self._judge_vocabulary(text, words)
        )

    def _judge_symbols(self, text: str, words: int) -> Drop | None:
        limit = self.config.max_symbol_word_ratio
        if limit:
            if (value := text.count("#") / words) > limit:
                return Drop("hashes", value, limit)
            if (value := (text.count("...") + text.count("…")) / words) > limit:
                return Drop("ellipses", value, limit)
        return None

    def _judge_lines(self, lines: list[str]) -> Drop | None:
        config, count = self.config, max(len(lines), 1)
        if config.max_bullet_lines:
            value = sum(line.lstrip().startswith(("•", "-")) for line in lines) / count
            if value > config.max_bullet_lines:
                return Drop("bullet_lines", value, config.max_bullet_lines)
        if config.max_ellipsis_lines:
            value = sum(line.rstrip().endswith(("...", "…")) for line in lines) / count
            if value > config.max_ellipsis_lines:
                return Drop("ellipsis_lines", value, config.max_ellipsis_lines)
        return None

    def _judge_vocabulary(self, text: str, words: list[str]) -> Drop | None:
        config = self.config
        if config.min_alpha_words:
            counted = text.split() if config.alpha_words == "whitespace" else words
            value = sum(map(has_letter, counted)) / max(len(counted), 1)
            if value < config.min_alpha_words:
                return Drop("few_alpha_words", value, config.min_alpha_words)
        if config.min_stop_words:
            value = len(self._stop_words.intersection(words))
            if value < config.min_stop_words:
                return Drop("few_stop_words", value, config.min_stop_words)
        return None


def has_letter(word: str) -> bool:
    """True when any character is a letter."""
    return word.isalpha() or any(map(str.isalpha, word))
