"""Options of WARC reading."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millbase.config import Config


class ReadConfig(Config):
    """Reads every response record of the WARC files; records that are no HTML page are dropped with the reason."""

    on_truncated: Literal["error", "record"] = "error"
    """A WARC file that ends early or has an unreadable stretch: `error` stops with the file and offset, `record` drops
    the damaged record with the reason `truncated` or `damaged`, goes on at the next readable one, and counts it."""
    max_record_bytes: int = Field(default=16 << 20, gt=0)
    """Larger records (before and after HTTP decompression) are dropped with the reason `too_large`."""
    max_pages_per_file: int | None = Field(default=None, gt=0)
    """Read only the first so many response records of each file, for trials; null reads all."""
