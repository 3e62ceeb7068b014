"""Labelled pages: texts to keep by page type, and the texts of a crawl with the truth about each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import xxhash

from data_pipeline.audit.config import AuditConfig
from millbase.errors import InputError
from millbase.files import glob_files, open_file

KEEP, DROP, OTHER = "keep", "drop", "other"


@dataclass(frozen=True)
class Page:
    """One text and what should become of it."""

    url: str
    text: str
    kind: str
    """Page type, or the kind of page in a truth file."""
    label: str
    """`keep`; `drop` where the heuristics should drop it; `other` where another step should."""


def good_pages(config: AuditConfig) -> list[Page]:
    """Every labelled text, in the order of the files. Raises InputError where there is none."""
    pages = []
    for source in config.good:
        for file in glob_files(source.path, what="labelled pages"):
            for row in _rows(file):
                text = row.get(source.text)
                if isinstance(text, str) and text.strip():
                    kind = str(row.get(source.type) or source.default_type)
                    pages.append(Page(str(row.get("url") or row.get("id") or ""), text, kind, KEEP))
    if config.good and not pages:
        raise InputError(f"good: no row of {config.good[0].path!r} holds a text; check 'path' and 'text'")
    return _sample(pages, config.max_pages)


def truth_pages(config: AuditConfig) -> list[Page]:
    """Every page of the truth file that has a text; duplicates count as pages to keep, for no heuristic can know them.

    Raises InputError where the file holds none.
    """
    if config.truth is None:
        return []
    pages = []
    for row in _rows(config.truth):
        if "expected_step" not in row or "kind" not in row:
            raise InputError(f"truth {config.truth!r}: a row has no expected_step; give a truth.jsonl.gz")
        if row.get("text"):
            step = row["expected_step"]
            label = KEEP if step in (None, "dedup") else DROP if step == "heuristics" else OTHER
            pages.append(Page(row["url"], row["text"], row["kind"], label))
    if not pages:
        raise InputError(f"truth {config.truth!r} holds no page with a text; make the synthetic web again")
    return _sample(pages, config.max_pages)


def _rows(file: str) -> Iterator[dict[str, Any]]:
    with open_file(file) as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{file!r}, line {number}: not JSON ({error}); give JSONL") from None
            if not isinstance(row, dict):
                raise InputError(f"{file!r}, line {number}: expected an object, found {type(row).__name__}")
            yield row


def _sample(pages: list[Page], limit: int | None) -> list[Page]:
    if limit is None or len(pages) <= limit:
        return pages
    keyed = sorted(pages, key=lambda page: (xxhash.xxh3_64_intdigest(page.url.encode()), page.url, page.text))
    return keyed[:limit]
