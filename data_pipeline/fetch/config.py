"""Options of remote reading, and of a crawl's dump given by name."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config


class FetchConfig(Config):
    """How remote files are fetched. None of it changes the result, so a build can go on with other values."""

    requests_per_second: float | None = Field(default=10.0, gt=0)
    """To one host (or bucket), over all processes of this user on this machine; null does not limit them."""
    connections: int | None = Field(default=4, gt=0)
    """Transfers at one time from one host, over all processes of this user on this machine; null does not limit
    them. A connection is held while a block is transferred, not while it is processed."""
    retries: int = Field(default=8, ge=0)
    """How often a request that brought nothing is repeated: refused (403, 408, 425, 429, 5xx), timed out, dropped. A
    transfer that breaks off goes on at the byte it reached."""
    first_wait_seconds: float = Field(default=1.0, gt=0)
    """Wait before the first repetition; it doubles each time. A Retry-After of the server counts where it is longer."""
    max_wait_seconds: float = Field(default=300.0, gt=0, le=3600)
    """Longest wait between two attempts; a server that asks for more is given up."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """For connecting, and for silence during a transfer."""
    block_bytes: int = Field(default=8 << 20, ge=1 << 12)
    """Bytes of one request; a worker holds three blocks of its file in memory."""


class CrawlConfig(Config):
    """The files of one dump of CommonCrawl, or of a crawl laid out like it, by the dump's name."""

    dump: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the dump, such as CC-MAIN-2024-51."""
    files: Literal["warc", "wet"] = "warc"
    """`warc`: pages as crawled; `wet`: their plain text, which needs no extraction and has no structure."""
    base: str = "https://data.commoncrawl.org/"
    """Where `crawl-data/<dump>/<files>.paths.gz` and the files it lists lie: a URL (`s3://commoncrawl/` with
    credentials) or a folder."""
    share: float | None = Field(default=None, gt=0, le=1)
    """Take this share of the files, at least one."""
    count: int | None = Field(default=None, gt=0)
    """Take so many files. A sample holds every smaller sample of the same seed; without share and count, all files."""
    seed: int = Field(default=0, ge=0)
    """Chooses the sample."""

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.share is not None and self.count is not None:
            raise ValueError("give share or count, not both")
        return self
