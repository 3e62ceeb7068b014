"""Options of reading."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_pipeline.fetch.config import FetchConfig
from millbase.config import Config

Format = Literal["auto", "warc", "arc", "parquet", "arrow", "jsonl", "text"]
"""Formats of input files; WET files are WARC files."""


class ColumnsConfig(Config):
    """Which columns (Parquet, Arrow) or keys (JSONL) hold what. A dotted name reaches into nested values."""

    text: str = Field(default="text", min_length=1)
    """The document's text; it must be there."""
    id: str | None = "id"
    """Its id; where it is missing or null, an id is made from the place of the record."""
    url: str | None = "url"
    """Its address; where it is missing or null, a `file:///` address is made from the file's name and the number of
    the record."""
    date: str | None = "date"
    """Its date, as text or as a timestamp; may be missing."""
    title: str | None = "title"
    """Its title; may be missing."""


class ReadConfig(Config):
    """Reads every page of the input files; records that are no HTML page or text are dropped with the reason."""

    on_truncated: Literal["error", "record"] = "error"
    """A file that ends early or has an unreadable stretch: `error` stops with the file and offset, `record` drops
    the damaged record with the reason `truncated` or `damaged`, goes on at the next readable one, and counts it."""
    max_record_bytes: int = Field(default=16 << 20, gt=0)
    """Larger records (before and after HTTP decompression) are dropped with the reason `too_large`."""
    max_pages_per_file: int | None = Field(default=None, gt=0)
    """Read only the first so many records of each file, for trials; null reads all."""
    fetch: FetchConfig = FetchConfig()
    """Remote files: retries and a polite rate."""
