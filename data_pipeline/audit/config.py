"""Options of an audit."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from data_pipeline.heuristics import (
    C4Config,
    Compat,
    FineWebConfig,
    GopherQualityConfig,
    GopherRepetitionConfig,
    RefinedWebConfig,
    spread_compat,
)
from data_pipeline.language.config import LanguageConfig
from millbase.config import Config


class LabelledPages(Config):
    """Texts that a reader found worth keeping: every drop of one is a false drop."""

    path: str | list[str]
    """JSONL files (.gz, .zst), or a glob, or a list of them."""
    text: str = "text"
    """Key of the text. Rows without are passed over."""
    type: str = "page_type"
    """Key of the page type."""
    default_type: str = "article"
    """Page type of rows without one."""


class AuditConfig(Config):
    """Measures each filter on labelled pages: alone, by rule, and all in order."""

    good: list[LabelledPages] = []
    """Pages to keep."""
    truth: str | None = None
    """A truth file (`truth.jsonl.gz`, as the synthetic web writes it) with the text of each page and the step that
    should drop it: precision and recall."""
    corpus: str | None = None
    """A corpus configuration (YAML) whose language step and heuristics are audited, instead of those below."""
    language: LanguageConfig = LanguageConfig(languages=None)
    """Language identification; which languages are wanted is not asked, only whether one is sure."""
    gopher_repetition: GopherRepetitionConfig = GopherRepetitionConfig()
    """Gopher's repetition rules."""
    gopher_quality: GopherQualityConfig = GopherQualityConfig()
    """Gopher's quality rules."""
    c4: C4Config = C4Config()
    """C4's rules."""
    fineweb: FineWebConfig = FineWebConfig()
    """FineWeb's rules."""
    refinedweb: RefinedWebConfig = RefinedWebConfig()
    """RefinedWeb's cleaning of lines."""
    compat: Compat | None = None
    """`datatrove`: datatrove's FineWeb recipe."""
    max_pages: int | None = Field(default=None, gt=0)
    """At most so many pages of each kind, the first by a hash of the address; null takes all."""

    @model_validator(mode="before")
    @classmethod
    def _spread_compat(cls, values: Any) -> Any:
        return spread_compat(values)

    @model_validator(mode="after")
    def _something_to_judge(self) -> Self:
        if not self.good and self.truth is None:
            raise ValueError("an audit needs labelled pages: give good, or truth, or both")
        return self
