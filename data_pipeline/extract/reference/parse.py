"""HTML to blocks in plain Python, statement by statement as html_parse.cpp; the reasons are given there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from data_pipeline.extract.reference.page import Node, Page
from data_pipeline.extract.reference.tables import mark_data_tables
from data_pipeline.extract.reference.tags import (
    ATTRIBUTES,
    AUTHOR_NAMES,
    BLOCK,
    CLOSES_P,
    ELEMENTS,
    ENDS_PRE,
    FNV,
    FORMAT,
    HEADINGS,
    HIDDEN,
    NAME_GROUPS,
    NOT_ITEM_STOP,
    RAW,
    SCHEMA_TYPES,
    SCOPE,
    SKIP,
    TABLE_PARTS,
    TAG,
    VOID,
    Info,
    fnv,
    is_letter,
    lower,
    name_hash,
    number,
    squeeze,
)
from data_pipeline.extract.reference.writer import Writer

_SPACES = " \n\t\r\f"
_NAME = re.compile(r"[^ \n\t\r\f/>]*")
_UNQUOTED = re.compile(r"[^ \n\t\r\f>]*")
_WORDS = re.compile(r"[A-Za-z]+")
_CAMEL = re.compile(r"[A-Z]*[a-z]*")
_COMMENT_END = re.compile(r"--!?>")
_MAX_TOKENS = _MAX_TOKEN = 24


@dataclass
class _Open:
    name: str
    tag: int
    flags: int
    node: int
    skip: bool
    pre: bool
    math: bool
    link: bool = False


class Parser(Writer):
    """One pass over a page; `run` gives the blocks."""

    def __init__(self, source: str, max_tags: int, max_blocks: int, depth: int = 400) -> None:
        self.s, self.n = source, len(source)
        self.max_tags, self.max_blocks, self.depth = max_tags, max_blocks, depth
        super().__init__()
        self.stack: list[_Open] = []
        self.math_space = False
        self.no_quote: set[str] = set()
        self.no_raw: set[str] = set()
        self.after_tag = 0
        self.titled = False

    def run(self) -> Page:
        """Parse to the end, or to a bound."""
        i = 0
        while i < self.n:
            lt = self.find("<", i)
            if lt > i:
                self.add_text(self.s[i:lt])
            if lt >= self.n:
                break
            i = self.markup(lt)
            if self.tags > self.max_tags or len(self.page.blocks) >= self.max_blocks:
                self.page.cut = True
                break
        self.flush()
        while self.stack:
            self.pop_top()
        self.page.nodes[0].last = len(self.page.blocks)
        mark_data_tables(self.page)
        return self.page

    # ---- tokenizer

    def find(self, character: str, start: int) -> int:
        """The next place of `character`, or the end of the source."""
        found = self.s.find(character, start)
        return self.n if found < 0 else found

    def markup(self, lt: int) -> int:
        """Read the tag or comment at `lt`; like all below, gives the place where reading goes on."""
        following = self.s[lt + 1 : lt + 3]
        if following and is_letter(following[0]):
            return self.start_tag(lt)
        if following[:1] == "/" and is_letter(following[1:]):
            return self.end_tag(lt)
        if self.s.startswith("<!--", lt):
            return self.comment(lt + 4)
        if following[:1] in ("!", "?", "/") and following:
            return min(self.n, self.find(">", lt + 2) + 1)
        self.add_text("<")
        return lt + 1

    def comment(self, p: int) -> int:
        """Skip a comment."""
        if self.s.startswith(">", p):
            return p + 1
        if self.s.startswith("->", p):
            return p + 2
        end = _COMMENT_END.search(self.s, p)
        return end.end() if end else self.n

    def start_tag(self, lt: int) -> int:
        """A start tag, with the content of elements that hold no markup."""
        self.tags += 1
        match = _NAME.match(self.s, lt + 1)
        assert match
        name = lower(match[0])
        attributes, closing, p = self.read_attributes(match.end())
        custom = "-" in name
        info = ELEMENTS.get(name, (TAG["CUSTOM"], BLOCK, 0) if custom else (0, 0, 0))
        if info[1] & RAW:
            return self.raw(name, attributes, p)
        self.after_tag = p
        self.start(name, info, attributes, closing)
        return p

    def read_attributes(self, p: int) -> tuple[dict[str, str], bool, int]:
        """The attributes that matter, whether the tag closes itself, and the place after it."""
        out: dict[str, str] = {}
        closing = False
        while p < self.n:
            while p < self.n and (self.s[p] in _SPACES or self.s[p] == "/"):
                closing = self.s[p] == "/"
                p += 1
            if p >= self.n or self.s[p] == ">":
                return out, closing, min(self.n, p + 1)
            closing = False
            begin = p
            while (
                p < self.n and self.s[p] not in _SPACES and self.s[p] not in "/>" and (self.s[p] != "=" or p == begin)
            ):
                p += 1
            name, value, q = lower(self.s[begin:p]), "", p
            while q < self.n and self.s[q] in _SPACES:
                q += 1
            if q < self.n and self.s[q] == "=":
                p = q + 1
                while p < self.n and self.s[p] in _SPACES:
                    p += 1
                value, p = self.read_value(p)
            if name in ATTRIBUTES and name not in out:
                out[name] = value
        return out, closing, self.n

    def read_value(self, p: int) -> tuple[str, int]:
        """Value of an attribute, and the place after it."""
        quote = self.s[p] if p < self.n else ""
        if quote in ('"', "'") and quote:
            close = self.n if quote in self.no_quote else self.find(quote, p + 1)
            if close < self.n:
                return self.s[p + 1 : close], close + 1
            self.no_quote.add(quote)
            end = self.find(">", p)
            return self.s[p + 1 : end], end
        match = _UNQUOTED.match(self.s, p)
        assert match
        return match[0], match.end()

    def end_tag(self, lt: int) -> int:
        """An end tag."""
        self.tags += 1
        match = _NAME.match(self.s, lt + 2)
        assert match
        name = lower(match[0])
        self.end(name, ELEMENTS.get(name, (0, 0, 0)))
        return min(self.n, self.find(">", match.end()) + 1)

    def raw(self, name: str, attributes: dict[str, str], p: int) -> int:
        """Content up to the end tag of script, style, title and the like."""
        end = self.raw_end(name, p)
        if end == self.n and name not in ("script", "style"):
            return p
        content = self.s[p:end]
        if name == "title" and not self.titled and not self.skips:
            self.page.title, self.titled = content, True
        if name == "script":
            self.page.scripts += 1
            kind = squeeze(attributes.get("type", ""))
            if "ld+json" in kind and len(self.page.json_ld) < 50:
                self.page.json_ld.append(content)
                self.schema_types(p, end)
            if "math/tex" in kind:
                self.formula(content)
        return min(self.n, self.find(">", end) + 1) if end < self.n else self.n

    def raw_end(self, name: str, p: int) -> int:
        """Where the end tag of a raw element begins."""
        if name in self.no_raw:
            return self.n
        lt = self.find("<", p)
        while lt < self.n:
            if self.s.startswith("/", lt + 1):
                match = _NAME.match(self.s, lt + 2, lt + 12)
                q = match.end() if match else lt + 2
                if match and lower(match[0]) == name and q < self.n and (self.s[q] in _SPACES or self.s[q] in "/>"):
                    return lt
            lt = self.find("<", lt + 1)
        self.no_raw.add(name)
        return self.n

    def schema_types(self, start: int, end: int) -> None:
        """Note the names that follow `@type` in a JSON-LD script."""
        at = self.s.find("@", start, end)
        while at >= 0:
            if lower(self.s[at : at + 6]) == '@type"':
                stop = min(end, at + 80)
                for opened in range(at + 6, stop):
                    if self.s[opened] in ",}":
                        break
                    if self.s[opened] == '"':
                        found_at = self.s.find('"', opened + 1, stop)
                        close = stop if found_at < 0 else found_at
                        found = SCHEMA_TYPES.get(lower(self.s[opened + 1 : close]))
                        if found is not None:
                            self.page.schema |= 1 << found
                        break
            at = self.s.find("@", at + 1, end)

    # ---- stack of open elements

    def node(self) -> int:
        """The innermost block-level element."""
        return self.stack[-1].node if self.stack else 0

    def pop_top(self) -> None:
        """End the innermost element."""
        open_ = self.stack[-1]
        if open_.flags & BLOCK and not open_.skip and (not self.pres or open_.pre):
            self.flush()
        self.release(open_)
        if open_.flags & BLOCK:
            self.page.nodes[open_.node].last = len(self.page.blocks)
        self.stack.pop()

    def release(self, open_: _Open) -> None:
        """Count an element as ended."""
        if open_.link:
            self.links -= 1
            self.link_ended = True
        self.skips -= open_.skip
        self.pres -= open_.pre

    def pop_to(self, index: int) -> None:
        """End all elements from `index` of the stack on."""
        while len(self.stack) > index:
            self.pop_top()

    def close_paragraph(self) -> None:
        """End an open paragraph."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i].tag == TAG["P"]:
                return self.pop_to(i)
            if self.stack[i].flags & (BLOCK | SCOPE):
                return None
        return None

    def close_open(self, match: tuple[str, ...], stop: frozenset[int], inverted: bool = False) -> None:
        """End the innermost of `match` unless one of `stop` (or, inverted, one not of `stop`) comes first."""
        wanted = {TAG[name] for name in match}
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i].tag in wanted:
                return self.pop_to(i)
            if (self.stack[i].tag in stop) != inverted:
                return None
        return None

    def close_implied(self, info: Info) -> None:
        """End what the start of an element of this kind ends."""
        tag, flags, _ = info
        if flags & CLOSES_P:
            self.close_paragraph()
        table = frozenset([TAG["TABLE"]])
        if tag == TAG["LI"]:
            self.close_open(("LI",), NOT_ITEM_STOP, inverted=True)
        elif tag in (TAG["DD"], TAG["DT"]):
            self.close_open(("DD", "DT"), NOT_ITEM_STOP, inverted=True)
        elif tag == TAG["TR"]:
            self.close_open(("TR",), table)
        elif tag in (TAG["TD"], TAG["TH"]):
            self.close_open(("TD", "TH"), frozenset([TAG["TR"], TAG["TABLE"]]))
        elif tag in (TAG["TBODY"], TAG["THEAD"], TAG["TFOOT"]):
            self.close_open(("TBODY", "THEAD", "TFOOT", "CAPTION"), table)
        elif tag in HEADINGS:
            if self.stack and self.stack[-1].tag in HEADINGS:
                self.pop_top()
        elif tag == TAG["BUTTON"]:
            self.close_open(("BUTTON",), frozenset([TAG["TD"], TAG["TABLE"], TAG["FORM"]]))
        elif tag == TAG["A"]:
            self.close_open(("A",), frozenset([TAG["OTHER"], TAG["SPAN"]]), inverted=True)

    def break_out(self, info: Info) -> None:
        """Close what cannot hold an element of this kind."""
        if self.skips and info[1] & CLOSES_P:
            for i in range(len(self.stack) - 1, -1, -1):
                if self.stack[i].skip and self.stack[i].tag in (TAG["SVG"], TAG["SELECT"]):
                    self.pop_to(i)
                    return
        if self.pres and info[0] in ENDS_PRE:
            for i in range(len(self.stack) - 1, -1, -1):
                if self.stack[i].pre:
                    return self.pop_to(i)

    def start(self, name: str, info: Info, a: dict[str, str], closing: bool) -> None:
        """Begin an element."""
        tag, flags, _ = info
        if name in ("html", "head", "body"):
            return self.flush()
        if name == "meta":
            return self.meta(a)
        if tag == TAG["BR"]:
            return self.line_break()
        self.break_out(info)
        self.close_implied(info)
        if tag == TAG["HR"]:
            return self.flush()
        if flags & VOID or (self.skips and closing):
            return None
        if len(self.stack) >= self.depth:
            return self.flush() if flags & BLOCK else None
        self.page.forms += name == "form"
        open_ = _Open(
            name, tag, flags, self.node(), bool(flags & SKIP), tag == TAG["PRE"] and not self.pres, tag == TAG["MATH"]
        )
        if tag == TAG["ANNOTATION"]:
            return self.annotation(open_, a)
        if tag == TAG["MATH"]:
            self.math(open_, a)
        if flags & BLOCK and not self.skips and not (self.pres and tag != TAG["PRE"]):
            self.flush()
            open_.node = self.add_node(info, a)
        elif self.pres and flags & BLOCK:
            if self.text and self.text[-1] != "\n":
                self.text.append("\n")
            open_.flags &= ~BLOCK
        elif self.skips:
            open_.flags &= ~BLOCK
        else:
            self.inline_element(open_, info, a)
        self.skips += open_.skip
        self.pres += open_.pre
        self.stack.append(open_)
        return None

    def inline_element(self, open_: _Open, info: Info, a: dict[str, str]) -> None:
        """Begin an inline element."""
        before = len(self.inline)
        words = self.words_of(a)
        self.inline += words
        self.author = self.author or any(word in AUTHOR_NAMES for word in words)
        if len(self.inline) > 64:
            del self.inline[max(before, 64) :]
        if info[0] == TAG["A"] and "href" in a:
            open_.link = True
            self.links += 1
            self.link_count += 1
            if self.link_ended:
                self.pending = True
        if "katex-html" in squeeze(a.get("class", "")):
            open_.skip = True
        if info[0] == TAG["TIME"] and "datetime" in a and len(self.page.times) < 20:
            self.page.times.append(a["datetime"])

    def end(self, name: str, info: Info) -> None:
        """End an element, and those left open in it."""
        tag, flags, _ = info
        if name in ("html", "body", "head"):
            return None
        if tag == TAG["BR"]:
            return self.line_break()
        block = bool(flags & (BLOCK | SKIP))
        for i in range(len(self.stack) - 1, -1, -1):
            open_ = self.stack[i]
            if open_.name == name:
                crossing = any(other.flags & BLOCK for other in self.stack[i + 1 :])
                if not block and flags & FORMAT and crossing:
                    if open_.link:
                        self.links -= 1
                        self.link_ended = True
                    self.skips -= open_.skip
                    del self.stack[i]
                    return None
                return self.pop_to(i)
            if open_.tag == TAG["TABLE"] or (tag not in TABLE_PARTS and open_.flags & SCOPE):
                return None
            if not block and not flags & FORMAT and open_.flags & BLOCK:
                return None
        return None

    def add_node(self, info: Info, a: dict[str, str]) -> int:
        """Add a block-level element; gives its number."""
        tag, _, ancestor = info
        parent_index = self.node()
        parent = self.page.nodes[parent_index]
        made = Node(parent_index, tag, parent.depth + 1, parent.ancestors | ancestor, names=parent.names)
        style = squeeze(a.get("style", ""))
        if (
            "hidden" in a
            or "true" in squeeze(a.get("aria-hidden", ""))
            or "display:none" in style
            or "visibility:hidden" in style
        ):
            made.ancestors |= HIDDEN
        made.first = made.last = len(self.page.blocks)
        made.list_depth = parent.list_depth + (tag in (TAG["UL"], TAG["OL"]))
        if tag == TAG["OL"]:
            made.ordinal = number(a["start"]) - 1 if "start" in a else 0
        if tag == TAG["LI"] and parent.tag == TAG["OL"]:
            parent.ordinal += 1
            made.ordinal = parent.ordinal
        made.path_hash = fnv(parent.path_hash ^ FNV, tag)
        made.tokens = self.words_of(a)
        made.class_hash = FNV
        for word in made.tokens:
            made.class_hash = fnv(made.class_hash, word)
            if word in NAME_GROUPS:
                made.names |= 1 << NAME_GROUPS[word]
            made.author = made.author or word in AUTHOR_NAMES
        self.page.nodes.append(made)
        return len(self.page.nodes) - 1

    def words_of(self, a: dict[str, str]) -> list[int]:
        """Hashed words of class, id, role, itemprop and rel."""
        out: list[int] = []
        for which in ("class", "id", "role", "itemprop", "rel"):
            for run in _WORDS.findall(a.get(which, "")):
                for word in _CAMEL.findall(run):
                    if 2 <= len(word) <= _MAX_TOKEN and len(out) < _MAX_TOKENS:
                        out.append(name_hash(lower(word)))
        return out

    def meta(self, a: dict[str, str]) -> None:
        """Note a meta element."""
        key = a.get("property", a.get("name", a.get("itemprop")))
        if key is None or "content" not in a or len(self.page.metas) >= 100:
            return
        content = a["content"]
        self.page.metas.append((key, content))
        if lower(key) in ("description", "og:description"):
            self.page.description = content
        if lower(key) == "og:type":
            kind = lower(content)
            self.page.og_type = {"article": 1, "website": 3}.get(kind, 2 if kind.startswith("product") else 4)

    # ---- formulas

    def math(self, open_: _Open, a: dict[str, str]) -> None:
        """Begin a formula."""
        self.math_start, self.math_space = len(self.text), self.pending
        if "alttext" in a and not self.skips:
            self.formula(a["alttext"])
            open_.skip = True

    def annotation(self, open_: _Open, a: dict[str, str]) -> None:
        """TeX inside MathML takes the place of the formula's text."""
        start = self.math_start if any(other.math for other in self.stack) else None
        if start is not None and not self.skips and "tex" in squeeze(a.get("encoding", "")) and start <= len(self.text):
            del self.text[start:]
            self.pending = self.math_space
            self.formula(self.s[self.after_tag : self.find("<", self.after_tag)])
        self.skips += open_.skip
        self.stack.append(open_)

    def line_break(self) -> None:
        """A `br`."""
        if self.skips:
            return
        if self.pres:
            self.text.append("\n")
            return
        self.flush()
        self.after_br = True

    def flush(self) -> None:
        """End the open block."""
        self.end_block(self.node())
