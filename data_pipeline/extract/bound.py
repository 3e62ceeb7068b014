"""Bounds on the pages that resiliparse and trafilatura see.

Both take far more than linear time, or memory, on some markup: resiliparse minutes and gigabytes for 20,000 elements
one in another. The `blocks` engine bounds itself (`max_tags`, `max_blocks`); for these two the page is looked through
once, tag by tag, and what is too much is left out before the engine begins: the tags of elements nested too deep, and
all that follows after too many tags. The bounds depend on nothing but the page. Text is never removed but for the cut
at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_TAGS = 50_000
"""Tags that the engines are given at most. The largest of 2,211 real pages has 19,814."""
MAX_DEPTH = 200
"""Elements one in another; libxml2, beneath trafilatura, itself stops at 256."""
MAX_FORMATS = 16
"""Formatting elements left open: a parser opens each of them again in every paragraph that follows."""

_TAG = re.compile(r"<(?:!--|(/?)([a-zA-Z][^\s/>]*))")
_RAW = {
    name: re.compile(f"</{name}", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_FORMATS = _names("b big code em font i nobr s small strike strong tt u")
_VOID = _names("area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr")
# A new one ends the one before, so that left open they stand beside one another; not so in drawings and formulas.
_IMPLIED = _names(
    "a body button caption colgroup dd dt head html li optgroup option p rp rt tbody td tfoot th thead tr"
)
_FOREIGN = frozenset({"svg", "math"})


class _Depth:
    """How many elements are open, as far as their tags tell."""

    def __init__(self) -> None:
        self.formats = self.others = self.foreign = 0
        self.left_out = {True: 0, False: 0}

    def passes(self, name: str, ends: bool) -> bool:
        """Count a tag; false where it should be left out."""
        if name in _VOID or (name in _IMPLIED and not self.foreign):
            return True
        format_ = name in _FORMATS
        if ends and self.left_out[format_]:
            self.left_out[format_] -= 1
            return False
        step = -1 if ends else 1
        if not ends and (self.formats >= MAX_FORMATS if format_ else self.others >= MAX_DEPTH):
            self.left_out[format_] += 1
            return False
        if format_:
            self.formats = max(0, self.formats + step)
        else:
            self.others = max(0, self.others + step)
            self.foreign = max(0, self.foreign + step * (name in _FOREIGN))
        return True


def bounded(html: str, max_tags: int = MAX_TAGS) -> str:
    """`html`, or as much of it as an engine can be given: at most `max_tags` tags and a bounded depth."""
    depth, parts, copied = _Depth(), list[str](), 0
    for count, (start, end, name, ends) in enumerate(_tags(html)):
        if count >= max_tags:
            html = html[:start]
            break
        if start < copied:
            continue
        close = html.find(">", end)
        if close < 0:  # a tag without an end is none, and nothing follows
            break
        if depth.foreign and not ends and html[close - 1] == "/":
            continue
        if not depth.passes(name, ends):
            parts.append(html[copied:start])
            copied = close + 1
    return "".join([*parts, html[copied:]]) if parts else html


def _tags(html: str) -> Iterator[tuple[int, int, str, bool]]:
    """Start and end of each tag's name, the name, and whether it is an end tag; not those in comments and scripts."""
    position, unclosed = 0, set[str]()
    while tag := _TAG.search(html, position):
        position = tag.end()
        if tag[2] is None:
            close = -1 if "--" in unclosed else html.find("-->", position)
            if close >= 0:
                position = close
            else:
                unclosed.add("--")
            continue
        name = tag[2].lower()
        yield tag.start(), position, name, bool(tag[1])
        if name in _RAW and not tag[1] and name not in unclosed:
            found = _RAW[name].search(html, position)
            if found:
                position = found.start()
            else:
                unclosed.add(name)  # looked for once: no page makes the search quadratic
