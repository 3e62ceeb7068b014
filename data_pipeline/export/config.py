"""Options of the export of a corpus."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config

_COMPRESSIONS = {"parquet": ("zstd", "snappy", "gzip", "none"), "jsonl": ("zstd", "gzip", "none")}


class ExportConfig(Config):
    """Writes a finished corpus in another format."""

    corpus: str
    """Corpus artifact."""
    format: Literal["parquet", "jsonl"] = "parquet"
    """`parquet`, or `jsonl`: a JSON object a line. (Token shards go to Megatron's .bin and .idx with `llmill tokens
    export-megatron`.)"""
    compression: Literal["zstd", "gzip", "snappy", "none"] = "zstd"
    """Of the Parquet columns (gzip, snappy, zstd), or of the whole .jsonl file (gzip, zstd)."""
    columns: list[str] = []
    """Columns to write, in this order; none given, all that the corpus has."""
    repeat_copies: bool = False
    """Write a document as often as its column `copies` says, one after the other: for trainers that do not know the
    column. They must shuffle."""
    shard_bytes: int = Field(default=256 << 20, gt=0)
    """Text bytes in one file, before compression; a larger document gets a file of its own."""
    row_group_rows: int = Field(default=4096, gt=0)
    """Rows in a row group of a Parquet file."""
    workers: int = Field(default=0, ge=0)
    """Processes; 0 takes one for each available core. The result does not depend on it."""

    @property
    def suffix(self) -> str:
        """Ending of the files' names."""
        if self.format == "parquet":
            return ".parquet"
        return {"zstd": ".jsonl.zst", "gzip": ".jsonl.gz"}.get(self.compression, ".jsonl")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = _COMPRESSIONS[self.format]
        if self.compression not in known:
            raise ValueError(f"{self.format} has no compression {self.compression!r}, expected {' or '.join(known)}")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"columns must differ, found {', '.join(self.columns)}")
        return self
