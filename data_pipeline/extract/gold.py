"""Pages with a gold main text, and which of them the model may learn from.

A folder of gold pages holds `extraction/NAME.gold.jsonl.gz` (`id`, `url`, `text`, perhaps `page_type` and `lang`) and
`warc/NAME.warc.gz`, whose records name the id in `X-Realdata-Id` (NAME/ID). Pages are divided by registered domain, by
a hash of its name, so that no site is on both sides, whatever set its pages come from.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tldextract
from fastwarc.warc import ArchiveIterator, WarcRecordType

from data_pipeline.read.charset import decode_html
from millbase.errors import InputError

HELD_OUT = 0.2
"""Share of domains, in tenths, kept from training; every figure about the model is measured on their pages."""
FOLDS = 5
PARTIAL_GOLD = frozenset({"goose3_tests"})
"""Sets whose gold text is only the beginning of the main text."""


@dataclass(frozen=True)
class GoldPage:
    """A page and what a reader should see of it."""

    source: str
    id: str
    domain: str
    kind: str
    """The page type, or the language of news pages."""
    html: str
    text: str

    @property
    def held_out(self) -> bool:
        """True for pages of domains that the model has not seen."""
        return domain_number(self.domain) % 10 < 10 * HELD_OUT

    @property
    def fold(self) -> int:
        """Which part of the training pages it is in, for cross-validation."""
        return domain_number(f"fold{self.domain}") % FOLDS


def gold_pages(folder: Path, sources: list[str] | None = None) -> Iterator[GoldPage]:
    """All pages of `folder` with a gold text, or those of some sources, in file order; each address once.

    Raises InputError when there are none.
    """
    files = sorted((folder / "extraction").glob("*.gold.jsonl.gz"))
    found, seen = 0, set[str]()
    for file in files:
        source = file.name.removesuffix(".gold.jsonl.gz")
        if source in PARTIAL_GOLD or (sources is not None and source not in sources):
            continue
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            gold = {f"{source}/{row['id']}": row for line in lines if (row := json.loads(line)).get("text")}
        warc = folder / "warc" / f"{source}.warc.gz"
        if gold and warc.is_file():
            for url, page in _pages(warc, source, gold):
                if url not in seen:
                    found += 1
                    seen.add(url)
                    yield page
    if not found:
        raise InputError(
            f"{str(folder)!r} holds no gold pages; expected extraction/*.gold.jsonl.gz beside warc/*.warc.gz"
        )


def _pages(warc: Path, source: str, gold: dict[str, Any]) -> Iterator[tuple[str, GoldPage]]:
    with warc.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            id_ = record.headers.get("X-Realdata-Id") or ""
            if row := gold.get(id_):
                html, _ = decode_html(record.reader.read(), record.http_charset)
                kind = row.get("page_type") or row.get("lang") or "article"
                url = row.get("url") or id_
                yield url, GoldPage(source, id_, _domain(url) or id_, kind, html, row["text"])


def domain_number(domain: str) -> int:
    """A number for a name, the same in every process and for ever."""
    return int.from_bytes(hashlib.sha256(domain.encode()).digest()[:4], "big")


@functools.cache
def _suffixes() -> tldextract.TLDExtract:
    return tldextract.TLDExtract(suffix_list_urls=())  # the list inside the package: nothing is fetched


def _domain(url: str) -> str:
    parts = _suffixes()(url)
    return parts.top_domain_under_public_suffix or parts.fqdn
