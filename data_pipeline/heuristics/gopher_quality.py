"""Gopher's quality rules (Rae et al. 2021, appendix A.1.1).

Differs from datatrove in one rule unless `alpha_words: tokens` is set: the share of words with a letter is taken over
words separated by white space, as in the paper. datatrove counts punctuation marks as words too; of 66 human-reviewed
articles that this drops, the paper's rule keeps 62.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from datatrove.data import Document
from pydantic import Field, model_validator

from data_pipeline.base import DropLog, Measure
from data_pipeline.base.rules import RuleFilter, at_least, at_most
from data_pipeline.heuristics.compat import Compat, datatrove_words, fill_published
from data_pipeline.heuristics.languages import UNKNOWN, LanguageSettings, language_of
from data_pipeline.heuristics.lines import line_marks, white_space_words
from data_pipeline.heuristics.tokenise import TokensLike, tokens_of, word_set
from millbase.config import Config

ByLanguage = Literal["language"]


class GopherQualityConfig(Config):
    """Drops documents whose words and lines look unlike prose. A null limit switches its rule off; `language` takes the
    value of the document's language from the table `heuristics/languages.yaml`."""

    enabled: bool = True
    """Whether to apply these rules."""
    compat: Compat | None = None
    """`datatrove`: datatrove's limits for every field not set, and its words."""
    min_words: int | None = Field(default=50, ge=1)
    """Fewest words, punctuation not counted."""
    max_words: int | None = Field(default=100_000, ge=1)
    """Most words, punctuation not counted."""
    min_mean_word_length: float | ByLanguage | None = "language"
    """Smallest mean length of words; 3 for English."""
    max_mean_word_length: float | ByLanguage | None = "language"
    """Largest mean length of words; 10 for English."""
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
    """Fewest different stop words."""
    stop_words: list[str] | ByLanguage = "language"
    """The stop words, for every language; none switches the rule off."""

    @model_validator(mode="before")
    @classmethod
    def _published(cls, values: Any) -> Any:
        return fill_published("gopher_quality", values)


class GopherQualityFilter(RuleFilter):
    """Same decisions as datatrove's GopherQualityFilter on the same words, but for the module's difference."""

    name = "🥇 Gopher quality"
    step_name = "gopher_quality"

    def __init__(self, config: GopherQualityConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self._sets: dict[tuple[str, ...], Any] = {}  # filled by the worker: the native sets cannot be pickled

    def rules(self, document: Document) -> Iterator[Measure]:
        """`too_few_words`, `too_many_words`, `short_words`, `long_words`, `hashes`, `ellipses`, `bullet_lines`,
        `ellipsis_lines`, `few_alpha_words`, `few_stop_words`."""
        text, config = document.text, self.config
        settings = UNKNOWN if config.compat else language_of(document)
        tokens = datatrove_words(document) if config.compat else tokens_of(document)
        yield from self._lengths(tokens, settings)
        words = max(len(tokens), 1) / settings.units_per_word
        if config.max_symbol_word_ratio:
            yield at_most("hashes", text.count("#") / words, config.max_symbol_word_ratio)
            ellipses = text.count("...") + text.count("…")
            yield at_most("ellipses", ellipses / words, config.max_symbol_word_ratio)
        marks = line_marks(text)
        lines = max(marks.lines, 1)
        if config.max_bullet_lines:
            yield at_most("bullet_lines", marks.bullets / lines, config.max_bullet_lines)
        if config.max_ellipsis_lines:
            yield at_most("ellipsis_lines", marks.ellipses / lines, config.max_ellipsis_lines)
        if config.min_alpha_words:
            count, letters = self._letter_words(text, tokens, settings)
            yield at_least("few_alpha_words", letters / max(count, 1), config.min_alpha_words)
        stop_words = settings.stop_words if config.stop_words == "language" else config.stop_words
        if config.min_stop_words and stop_words:
            found = self._count_stop_words(text, tokens, stop_words, settings.stop_words_inside)
            yield at_least("few_stop_words", found, config.min_stop_words)

    def _lengths(self, tokens: TokensLike, settings: LanguageSettings) -> Iterator[Measure]:
        """The rules on the number of words and their mean length."""
        config = self.config
        units, characters = tokens.plain_words()
        count = units / settings.units_per_word
        if config.min_words:
            yield at_least("too_few_words", count, config.min_words)
        if config.max_words:
            yield at_most("too_many_words", count, config.max_words)
        shortest, longest = config.min_mean_word_length, config.max_mean_word_length
        shortest = settings.mean_word_length[0] if shortest == "language" else shortest
        longest = settings.mean_word_length[1] if longest == "language" else longest
        mean = characters / count if units else 0.0
        if shortest:
            yield at_least("short_words", mean, shortest)
        if longest:
            yield at_most("long_words", mean, longest)

    def _letter_words(self, text: str, tokens: TokensLike, settings: LanguageSettings) -> tuple[int, int]:
        """(words, those with a letter); in scripts without blanks, letters count as words and punctuation does not."""
        if self.config.alpha_words == "tokens":
            return len(tokens), tokens.letter_words()
        if settings.units_per_word > 1:
            return tokens.plain_words()[0], tokens.letter_words()
        return white_space_words(text)

    def _count_stop_words(self, text: str, tokens: TokensLike, words: Sequence[str], inside: bool) -> int:
        """Different words of `words` in the text."""
        if inside:
            return sum(word in text for word in words)
        if self.config.compat:
            return tokens.distinct(frozenset(words))
        key = tuple(words)
        if key not in self._sets:
            self._sets[key] = word_set(key)
        return tokens.distinct(self._sets[key])
