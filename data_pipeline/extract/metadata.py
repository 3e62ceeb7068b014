"""Title, author and date of a page, where it states them: JSON-LD, then meta elements, then marked elements."""

from __future__ import annotations

import email.utils
import html
import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

_TITLES = ("og:title", "twitter:title", "dc.title", "headline")
_AUTHORS = (
    *("author", "article:author", "article:author_name", "dc.creator", "dcterms.creator", "dc.creator", "byl"),
    *("parsely-author", "sailthru.author", "citation_author", "creator"),
)
_DATES = (
    *("article:published_time", "og:published_time", "datepublished", "dc.date.issued", "dcterms.created", "dc.date"),
    *("dc.date.created", "parsely-pub-date", "sailthru.date", "citation_publication_date", "publishdate", "pubdate"),
    *("publish-date", "publish_date", "article.published", "date", "cxenseparse:recs:publishtime", "pdate"),
)
_WORKS = re.compile(r"Article|Posting|Report|Review|Recipe|QAPage|Question|WebPage|Course|Book|Video", re.IGNORECASE)
_ISO = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-/.年](\d{1,2})[-/.月](\d{1,2})(?!\d)|(?<!\d)((?:19|20)\d\d)(\d\d)(\d\d)(?!\d)"
)
_BYLINE = re.compile(r"(?:written by|posted by|by|von|par|por|di|door|av|автор|作者)\b\s*[:：]?\s+", re.IGNORECASE)
_NOT_A_NAME = re.compile(r"https?:|www\.|@|\d|[|•·]")
_MAX_SCRIPT = 200_000
_MAX_DEPTH = 12
_MAX_NAME = 80


class Stated(NamedTuple):
    """What a page says about itself; the date as YYYY-MM-DD."""

    title: str | None
    author: str | None
    published: str | None


def stated(found: dict[str, Any]) -> Stated:
    """Title, author and date out of what the parser found (`blocks.block_model().facts`)."""
    metas: dict[str, str] = {}
    for name, content in found["metas"]:
        metas.setdefault(html.unescape(name).strip().lower(), html.unescape(content).strip())
    works = list(_works(found["json_ld"]))
    dates = [work.get("datePublished") or work.get("dateCreated") for work in works]
    dates += [metas.get(name) for name in _DATES] + found["times"]
    authors = [_name_of(work.get("author") or work.get("creator")) for work in works]
    authors += [metas.get(name) for name in _AUTHORS] + [_BYLINE.sub("", text, count=1) for text in found["authors"]]
    title = html.unescape(found["title"]).strip() or next((metas[name] for name in _TITLES if metas.get(name)), "")
    return Stated(
        " ".join(title.split()) or None,
        next((name for text in authors if text and (name := _clean_name(text))), None),
        next((day for text in dates if isinstance(text, str) and (day := iso_day(text))), None),
    )


def iso_day(text: str) -> str | None:
    """The first date in `text`, as YYYY-MM-DD; None where there is none that exists. Time zones are not converted."""
    for match in _ISO.finditer(text[:100]):
        parts = [int(group) for group in match.groups() if group]
        try:
            return date(*parts).isoformat()
        except ValueError:
            continue
    try:
        parsed = email.utils.parsedate(text[:100])
        return date(*parsed[:3]).isoformat() if parsed else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _works(scripts: list[str]) -> Iterator[dict[str, Any]]:
    """Objects of JSON-LD scripts that describe a text: those with a headline or a known type first."""
    found: list[dict[str, Any]] = []
    for script in scripts:
        if len(script) > _MAX_SCRIPT or ("author" not in script and "datePublished" not in script):
            continue
        try:
            found += _objects(json.loads(script, strict=False), _MAX_DEPTH)
        except (ValueError, RecursionError):
            continue
    yield from (work for work in found if "headline" in work)
    yield from (work for work in found if "headline" not in work and _WORKS.search(str(work.get("@type", ""))))


def _objects(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    if depth and isinstance(value, list):
        for item in value[:200]:
            yield from _objects(item, depth - 1)
    elif depth and isinstance(value, dict):
        if "datePublished" in value or "author" in value:
            yield value
        for key in ("@graph", "mainEntity", "mainEntityOfPage"):
            yield from _objects(value.get(key), depth - 1)


def _name_of(author: Any) -> str | None:
    """Names in an author field: a string, an object with a name, or a list of either."""
    if isinstance(author, list):
        names = [name for item in author[:10] if (name := _name_of(item))]
        return ", ".join(dict.fromkeys(names)) or None
    if isinstance(author, dict):
        return _name_of(author.get("name"))
    return html.unescape(author) if isinstance(author, str) else None


def _clean_name(text: str) -> str | None:
    """A name of at most 80 characters, or None for addresses, numbers and sentences."""
    name = " ".join(text.split()).strip(" ,;:-–—")
    if not name or len(name) > _MAX_NAME or _NOT_A_NAME.search(name):
        return None
    return name
