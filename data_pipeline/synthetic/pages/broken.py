"""Damage to HTML as the web has it: browsers, and good extractors, still read the text."""

import re
from random import Random

from data_pipeline.synthetic.grammar import shuffled


def _unclosed(rng: Random, html: str) -> str:
    """No paragraph and no list item is closed."""
    return re.sub(r"</(?:p|li|P)>", "", html)


def _misnested(rng: Random, html: str) -> str:
    """Inline elements closed in the wrong order."""
    return re.sub(r"<p>(\w+) (\w+)", r"<p><b><i>\1</b> \2</i>", html)


def _nul_bytes(rng: Random, html: str) -> str:
    """NUL bytes between elements."""
    return html.replace("</p>\n", "</p>\x00\n\x00").replace("<body", "\x00<body", 1)


def _two_bodies(rng: Random, html: str) -> str:
    """A second head and body in the middle."""
    return html.replace("<h1", "</head><body class='x'><h1", 1)


def _no_skeleton(rng: Random, html: str) -> str:
    """Neither html nor head nor body."""
    return re.sub(r"(?i)</?(?:html|head|body)[^>]*>|<!doctype[^>]*>", "", html)


def _bad_attributes(rng: Random, html: str) -> str:
    """Attributes without quotes, twice on one element, and without a value."""
    return re.sub(r'<(div|section) class="([\w-]+)"', r"<\1 class=\2 class=\2 id", html).replace(
        "<p>", "<p align=left>", 3
    )


def _truncated(rng: Random, html: str) -> str:
    """The transfer stopped inside the footer."""
    cut = html.lower().rfind("</body>")
    return html[: cut - rng.randint(0, 40)] if cut > 0 else html


def _stray_signs(rng: Random, html: str) -> str:
    """Loose angle brackets, ampersands and comments that never close properly."""
    return (
        html.replace("</p>", " </p><!-- - -- >-->", 2)
        .replace("<h1", "</div></span></td><h1", 1)
        .replace("&copy;", "& &copy")
    )


DAMAGES = (_unclosed, _misnested, _nul_bytes, _two_bodies, _no_skeleton, _bad_attributes, _truncated, _stray_signs)
"""Ways to damage a page."""


def break_html(rng: Random, html: str) -> str:
    """`html` with two or three kinds of damage."""
    for damage in shuffled(rng, DAMAGES)[: rng.randint(2, 3)]:
        html = damage(rng, html)
    return html
