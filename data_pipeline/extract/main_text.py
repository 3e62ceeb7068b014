"""Main text of an HTML page by our block model, resiliparse or trafilatura; and what the page states about itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from data_pipeline.extract.blocks import block_model
from data_pipeline.extract.bound import MAX_TAGS, bounded
from data_pipeline.extract.clean import clean_text
from data_pipeline.extract.config import ExtractConfig
from data_pipeline.extract.metadata import stated

_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_TEXT = (
    *("script", "style", "noscript", "template", "svg", "iframe", "nav", "header", "footer", "aside", "form"),
    *("button", "select", "option", "textarea", "dialog"),
)


class PageText(NamedTuple):
    """What is kept of a page."""

    text: str
    """The main text: paragraphs apart by a blank line."""
    title: str | None
    author: str | None
    published: str | None
    """The date the page states, YYYY-MM-DD."""


def extract_page(html: str, config: ExtractConfig) -> PageText:
    """The cleaned main text of a page, and its title, author and date where it states them."""
    html = html[: config.max_html_bytes]
    model = block_model(config.max_tags, config.max_blocks)
    if config.engine == "blocks":
        found = model.extract(html)
        text = clean_text(found["text"], config.clean_lines, layout=True)
    else:
        found = model.facts(html)
        text = clean_text(_engine(html, config), config.clean_lines)
    title, author, published = stated(found)
    return PageText(text, clean_text(title, lines=False) if title else None, author, published)


def extract_text(html: str, config: ExtractConfig) -> tuple[str, str | None]:
    """The main text before cleaning, lines separated by newlines, and the title of the page."""
    html = html[: config.max_html_bytes]
    model = block_model(config.max_tags, config.max_blocks)
    found = model.extract(html) if config.engine == "blocks" else model.facts(html)
    text = found["text"] if config.engine == "blocks" else _engine(html, config)
    return text, stated(found).title


def _engine(html: str, config: ExtractConfig) -> str:
    # No decoder of ours gives half a surrogate pair, but callers may; the engines' own encoding would stop at it.
    html = html.encode("utf-8", "replace").decode("utf-8") if _SURROGATE.search(html) else html
    html = bounded(html, min(config.max_tags, MAX_TAGS))
    if config.engine == "trafilatura":
        return _trafilatura()(html)
    tree = HTMLTree.parse(html)
    main = _plain(tree, main_content=True)
    if config.fallback_share:
        visible = _plain(tree, main_content=False)
        if len(main) < config.fallback_share * len(visible):
            return visible
    return main


def _plain(tree: HTMLTree, main_content: bool) -> str:
    return extract_plain_text(
        tree,
        main_content=main_content,
        alt_texts=False,
        comments=False,
        list_bullets=False,
        post_meta=False,
        skip_elements=None if main_content else _NOT_TEXT,
    )


@functools.cache
def _trafilatura() -> Callable[[str], str]:
    import trafilatura  # half a second to import, needed only when chosen

    def run(html: str) -> str:
        # No `deduplicate`: it makes a page's text depend on the pages before it.
        return trafilatura.extract(html, include_comments=False, favor_precision=True) or ""

    return run
