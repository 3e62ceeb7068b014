"""A dump of CommonCrawl by name: the listing of its files, and a sample of them."""

from __future__ import annotations

import gzip
import zlib

import xxhash

from data_pipeline.fetch.config import CrawlConfig, FetchConfig
from data_pipeline.fetch.open import is_remote, open_input
from millbase.errors import InputError

_MAX_LISTING_BYTES = 1 << 30


def dump_files(config: CrawlConfig, fetch: FetchConfig) -> list[str]:
    """Addresses of the dump's files, or of the sample asked for, sorted.

    A file is in the sample by a hash of its listed path and the seed, so a sample holds every smaller one, and the
    order of the listing does not matter. Raises InputError when there is no such dump, its listing is damaged, or it
    holds fewer files than `count`.
    """
    base = config.base if config.base.endswith("/") else f"{config.base}/"
    listing = f"{base}crawl-data/{config.dump}/{config.files}.paths.gz"
    names = sorted(set(_read_listing(listing, config, fetch)))
    if not names:
        raise InputError(f"{listing!r} lists no file; check 'dump' and 'base'")
    wanted = len(names)
    if config.share is not None:
        wanted = max(1, round(config.share * len(names)))
    elif config.count is not None:
        wanted = config.count
    if wanted > len(names):
        raise InputError(f"{listing!r} lists {len(names)} files, fewer than count={wanted}; lower it")
    chosen = sorted(names, key=lambda name: (xxhash.xxh3_64_intdigest(name.encode(), seed=config.seed), name))[:wanted]
    return [f"{base}{name}" for name in sorted(chosen)]


def _read_listing(listing: str, config: CrawlConfig, fetch: FetchConfig) -> list[str]:
    try:
        with open_input(listing, fetch, patient=False) as file, gzip.open(file) as lines:
            text = lines.read(_MAX_LISTING_BYTES).decode()
    except InputError as error:
        if "does not exist" not in str(error):
            raise
        where = "" if is_remote(listing) else " (a folder laid out like CommonCrawl's bucket)"
        raise InputError(
            f"no dump {config.dump!r} at {config.base!r}{where}: {listing!r} does not exist; names look like "
            "CC-MAIN-2024-51, see https://commoncrawl.org/get-started"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"listing {listing!r} cannot be read ({error}); check 'base', or fetch it again") from None
    return [name for line in text.splitlines() if (name := line.strip().lstrip("/"))]
