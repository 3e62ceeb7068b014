"""Options of the perplexity step."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millbase.config import Config


class PerplexityConfig(Config):
    """Scores documents by their perplexity; drops nothing unless a limit is set."""

    models: dict[str, str] = {}
    """Language code -> `perplexity-model` artifact. Documents in other languages have no perplexity. None given: the
    step is off."""
    default_language: str = "en"
    """The language of documents whose language is not known, for the language step is off."""
    keep: Literal["head", "middle"] | None = None
    """`head` keeps only the documents most like the model's text, `middle` those and the middle ones; null keeps
    all."""
    min_perplexity: float | None = Field(default=None, gt=0)
    """Documents with a lower perplexity are dropped, for they repeat themselves; null for no limit."""
