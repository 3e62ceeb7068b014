"""The text of a page, cut into blocks, as html_writer.hpp."""

from __future__ import annotations

import html
import html.entities
import re

from data_pipeline.extract.reference.page import Block, Page
from data_pipeline.extract.reference.tags import lower

_ENTITY = re.compile(r"[^<&#; \t\n\f\x80-\U0010ffff]{0,32}")
_NUMBER = re.compile(r"#(?:[xX]([0-9a-fA-F]+)|([0-9]+));?")
_IGNORABLE = frozenset("\xad\u200b\u2060\ufeff")
_INVALID: dict[int, str] = html._invalid_charrefs  # type: ignore[attr-defined]
_INVALID_POINTS: set[int] = html._invalid_codepoints  # type: ignore[attr-defined]
_ENTITIES = html.entities.html5


class Writer:
    """Collects characters, and makes blocks of them."""

    def __init__(self) -> None:
        self.page = Page()
        self.text: list[str] = []  # characters of the open block
        self.tags = self.links = self.skips = self.pres = self.link_chars = self.link_count = 0
        self.math_start: int | None = None
        self.pending = self.after_br = self.link_ended = self.author = False
        self.inline: list[int] = []

    def formula(self, tex: str) -> None:
        """Add a formula between dollar signs."""
        if self.skips:
            return
        tex = _strip(tex)
        if lower(tex).startswith("{\\displaystyle") and len(tex) > 15 and tex.endswith("}"):
            tex = _strip(tex[14:-1])
        if not tex:
            return
        self.push("$")
        self.add_text(tex)
        self.pending = False
        self.push("$")

    def add_text(self, text: str) -> None:
        """Add text of the source, character references resolved."""
        if self.skips:
            return
        i = 0
        while i < len(text):
            if text[i] == "&":
                i = self.reference(text, i)
            else:
                self.push(text[i])
                i += 1

    def push(self, c: str) -> None:
        """Add one character."""
        space = c.isspace()
        if self.pres:
            if c in _IGNORABLE or c == "\r":
                return
            self.text.append(" " if space and c not in "\n\t" else c)
            self.link_chars += not space and self.links > 0
            return
        if space:
            self.pending = True
            return
        if c in _IGNORABLE:
            return
        if self.pending and self.text:
            self.text.append(" ")
        self.pending = self.link_ended = False
        self.text.append(c)
        self.link_chars += self.links > 0

    def reference(self, text: str, i: int) -> int:
        """Add the character reference at `i`, as html.unescape reads it; gives the place after it."""
        number = _NUMBER.match(text, i + 1)
        if number:
            value = int(number[1], 16) if number[1] else int(number[2][:400])
            self.push_number(min(value, 1 << 30))
            return number.end()
        if text.startswith("#", i + 1):
            self.push("&")
            return i + 1
        match = _ENTITY.match(text, i + 1)
        name = match[0] if match else ""
        if text.startswith(";", i + 1 + len(name)):
            name += ";"
        for length in range(len(name), 1, -1):
            if name[:length] in _ENTITIES:
                for c in _ENTITIES[name[:length]]:
                    self.push(c)
                return i + 1 + length
        self.push("&")
        return i + 1

    def push_number(self, value: int) -> None:
        """Add the character of a numeric reference."""
        if value in _INVALID:
            self.push(_INVALID[value])
        elif 0xD800 <= value <= 0xDFFF or value > 0x10FFFF:
            self.push("\ufffd")
        elif value not in _INVALID_POINTS:
            self.push(chr(value))

    def end_block(self, node: int) -> None:
        """End the open block, which stands in element `node`."""
        pre = self.pres > 0
        begin, end = 0, len(self.text)
        while end > begin and self.text[end - 1].isspace():
            end -= 1
        if pre:
            p = 0
            while p < end and self.text[p].isspace():
                if self.text[p] == "\n":
                    begin = p + 1
                p += 1
        blocks = self.page.blocks
        if end > begin:
            own = self.page.nodes[node]
            named = own.author or (own.parent >= 0 and self.page.nodes[own.parent].author)
            after_br = self.after_br and bool(blocks) and blocks[-1].node == node
            text = "".join(self.text[begin:end])
            author = self.author or named
            blocks.append(
                Block(text, node, self.link_chars, self.link_count, self.inline, after_br, pre, author, self.tags)
            )
            self.after_br = self.author = False
            self.inline = []
            self.link_count = int(self.links > 0)
        self.text = []
        self.math_start = None
        self.pending = self.link_ended = False
        self.link_chars = 0


def _strip(text: str) -> str:
    while text and text[0].isspace():
        text = text[1:]
    while text and text[-1].isspace():
        text = text[:-1]
    return text
