"""The table of per-language settings (`languages.yaml`), chosen by the language of the document."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from datatrove.data import Document
from pydantic import Field

from millbase.config import Config, read_yaml

DEFAULT_LANGUAGE = "en"
"""What documents are taken for where the language step is off."""


class LanguageSettings(Config):
    """What the heuristics need to know about one language; the table's head says where the values come from."""

    stop_words: list[str] = []
    """Function words; none switches the rule on them off."""
    mean_word_length: tuple[float, float] = (1, 21)
    """Smallest and largest mean length of words."""
    units_per_word: float = Field(default=1.0, ge=1.0)
    """Tokens in one word of the language."""
    stop_words_inside: bool = False
    """Look for stop words anywhere in the text."""
    sentence_marks: bool = True
    """Whether sentences end in marks."""

    def n(self, words: int) -> int:
        """The number of tokens in so many words."""
        return round(words * self.units_per_word)


UNKNOWN = LanguageSettings()


@cache
def language_table() -> Mapping[str, LanguageSettings]:
    """Settings by ISO 639-1 code."""
    values = read_yaml(Path(__file__).with_name("languages.yaml"))
    return {code: LanguageSettings.model_validate(settings) for code, settings in values.items()}


def settings_of(code: str | None) -> LanguageSettings:
    """Settings of a language; those of English for None, the widest for one that is not in the table."""
    return language_table().get(code or DEFAULT_LANGUAGE, UNKNOWN)


def language_of(document: Document) -> LanguageSettings:
    """Settings of the document's language."""
    return settings_of(document.metadata.get("language"))
