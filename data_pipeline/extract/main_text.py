"""Main text of an HTML page by resiliparse or trafilatura."""

from __future__ import annotations

import functools
from collections.abc import Callable

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from data_pipeline.extract.config import ExtractConfig

_NOT_TEXT = (
    *("script", "style", "noscript", "template", "svg", "iframe", "nav", "header", "footer", "aside", "form"),
    *("button", "select", "option", "textarea", "dialog"),
)


def extract_text(html: str, config: ExtractConfig) -> tuple[str, str | None]:
    """The main text, lines separated by newlines, and the title of the page."""
    tree = HTMLTree.parse(html)
    title = (tree.title or "").strip() or None
    if config.engine == "trafilatura":
        return _trafilatura()(html), title
    main = _plain(tree, main_content=True)
    if config.fallback_share:
        visible = _plain(tree, main_content=False)
        if len(main) < config.fallback_share * len(visible):
            return visible, title
    return main, title


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
