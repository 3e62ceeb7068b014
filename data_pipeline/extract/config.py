"""Options of text extraction."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millbase.config import Config


class ExtractConfig(Config):
    """Takes the main text out of HTML."""

    engine: Literal["blocks", "resiliparse", "trafilatura"] = "blocks"
    """`blocks` cuts the page into blocks and lets a trained model choose (4 ms a page; it finds most of every kind of
    page and keeps lists, tables, code and formulas readable); `resiliparse` takes 4 to 8 ms, `trafilatura` 40 ms."""
    fallback_share: float = Field(default=0.15, ge=0.0, le=1.0)
    """For `resiliparse`: where its main content is less than this share of the page's visible text (without navigation,
    headers and the like), that text is taken instead: product, forum and documentation pages have no article. Measured
    word-F1 at 0 / 0.15 / 0.25: mixed pages .794 / .854 / .854, news .786 / .739 / .668."""
    clean_lines: bool = True
    """Remove single lines of boilerplate that extraction left: cookie notices, share and login links, copyright."""
    min_characters: int = Field(default=50, ge=1)
    """Pages with less text are dropped with the reason `too_short` (`empty` without any)."""
    max_html_bytes: int = Field(default=8 << 20, gt=0)
    """Pages with more HTML are dropped with the reason `html_too_large`."""
    max_tags: int = Field(default=400_000, gt=0)
    """`blocks` reads a page up to this many tags and leaves the rest out: a bound on the work that no clock decides.
    The largest of 1,754 real pages has 20,032. The other engines are given 50,000 at most, with elements no deeper than
    200 in one another (`extract/bound.py`)."""
    max_blocks: int = Field(default=20_000, gt=0)
    """Likewise, up to this many blocks of text; the largest has 2,172."""
