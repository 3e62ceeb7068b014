"""Options of text extraction."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millbase.config import Config


class ExtractConfig(Config):
    """Takes the main text out of HTML."""

    engine: Literal["resiliparse", "trafilatura"] = "resiliparse"
    """`resiliparse` takes 3 ms a page, `trafilatura` 46 ms and finds somewhat more of articles' text."""
    fallback_share: float = Field(default=0.15, ge=0.0, le=1.0)
    """Where resiliparse's main content is less than this share of the page's visible text (without navigation, headers
    and the like), that text is taken instead: product, forum and documentation pages have no article. Measured word-F1
    at 0 / 0.15 / 0.25: mixed pages .794 / .854 / .854, news .786 / .739 / .668."""
    clean_lines: bool = True
    """Remove single lines of boilerplate that extraction left: cookie notices, share and login links, copyright."""
    min_characters: int = Field(default=50, ge=1)
    """Pages with less text are dropped with the reason `too_short` (`empty` without any)."""
    max_html_bytes: int = Field(default=8 << 20, gt=0)
    """Pages with more HTML are dropped with the reason `html_too_large`."""
