"""What the parser knows about names: elements, words of class names, schema.org types; and how names are hashed."""

from __future__ import annotations

import re
from functools import lru_cache

_TAGS = """OTHER A ADDRESS ARTICLE ASIDE BLOCKQUOTE BODY BR BUTTON CAPTION CENTER DD DETAILS DIALOG DIV DL DT FIELDSET
FIGCAPTION FIGURE FOOTER FORM H1 H2 H3 H4 H5 H6 HEADER HR LABEL LEGEND LI MAIN NAV OL P PRE SECTION SPAN SUMMARY TABLE
TBODY TD TFOOT TH THEAD TR UL CUSTOM NOSCRIPT MATH ANNOTATION SVG SELECT OPTION TIME"""
TAG = {name: number for number, name in enumerate(_TAGS.split())}
"""Numbers of the elements that anything asks for, as `enum Tag` of html.hpp has them."""

_ANCESTORS = "nav header footer aside article main form table ul ol figure section button blockquote dl"
ANCESTOR = {name: 1 << bit for bit, name in enumerate(_ANCESTORS.split())}
HIDDEN, IN_NOSCRIPT = 1 << 15, 1 << 16
ANCESTORS = 17

BLOCK, CLOSES_P, VOID, RAW, SKIP, FORMAT, SCOPE = 1, 2, 4, 8, 16, 32, 64
"""Flags of an element, explained in html_parse.cpp."""


def _tags(names: str) -> frozenset[int]:
    return frozenset(TAG[name] for name in names.split())


HEADINGS = range(TAG["H1"], TAG["H6"] + 1)
TABLE_PARTS = _tags("TABLE TR TD TH TBODY THEAD TFOOT CAPTION")
NOT_ITEM_STOP = _tags("OTHER SPAN A DIV P ADDRESS LABEL TIME")
ENDS_PRE = _tags("H1 H2 H3 H4 H5 H6 ARTICLE SECTION FOOTER NAV MAIN TABLE")
_READ = """class id role itemprop style hidden aria-hidden href type name property content datetime alttext rel start
encoding"""
ATTRIBUTES = frozenset(_READ.split())

Info = tuple[int, int, int]
"""Tag, flags, bit as an ancestor."""


def _table() -> dict[str, Info]:
    made: dict[str, Info] = {}

    def add(names: str, flags: int, tag: str | None = None) -> None:
        for name in names.split():
            number = TAG[tag] if tag else TAG.get(name.upper(), 0)
            made[name] = (number, flags, ANCESTOR.get(name, 0))

    add(
        "address article aside blockquote center dd details dialog div dl dt fieldset figcaption figure footer form h1 "
        "h2 h3 h4 h5 h6 header li main nav ol p pre section summary table ul",
        BLOCK | CLOSES_P,
    )
    add("table", BLOCK | CLOSES_P | SCOPE)
    add("hgroup search", BLOCK | CLOSES_P, "DIV")
    add("listing", BLOCK | CLOSES_P, "PRE")
    made["menu"] = made["dir"] = made["ul"]
    add("button label legend tbody tfoot thead tr", BLOCK)
    add("caption td th", BLOCK | SCOPE)
    made["noscript"] = (TAG["NOSCRIPT"], BLOCK, IN_NOSCRIPT)
    add("br", VOID)
    add("hr", VOID | CLOSES_P)
    add("meta link img input area base basefont bgsound col embed frame keygen param source track wbr", VOID, "OTHER")
    add("script style iframe noembed noframes xmp textarea title", RAW, "OTHER")
    add("template object canvas video audio map datalist annotation-xml", SKIP, "OTHER")
    add("select svg annotation", SKIP)
    add("a b big code em font i nobr s small strike strong tt u", FORMAT)
    add("math span time", 0)
    return made


ELEMENTS = _table()

_GROUPS = [
    "comment comments disqus", "reply replies thread threads", "topic topics forum", "message messages msg bbcode",
    "answer answers question questions faq", "related similar", "recommended recommendation recommendations more also",
    "share sharing social follow", "sidebar aside rail side", "footer foot bottom",
    "nav navigation navbar menu submenu", "breadcrumb breadcrumbs crumb", "author byline bio",
    "ad ads advert advertisement sponsor sponsored",
    "promo banner cta", "newsletter subscribe subscription signup", "cookie cookies consent gdpr",
    "popup modal overlay dialog drawer", "tag tags", "widget widgets", "header masthead top", "hero",
    "title headline heading", "meta info", "date time timestamp published", "content contents", "article articles",
    "post posts", "entry", "body", "main", "text prose markdown", "story", "description desc summary excerpt",
    "product products", "price prices cart", "review reviews rating ratings", "item items", "card cards grid tile",
    "code highlight", "caption credit figcaption", "toc outline", "search filter filters sort", "list listing results",
]  # fmt: skip

SCHEMA_TYPES = {
    "article": 0, "newsarticle": 1, "reportagenewsarticle": 1, "blogposting": 2, "product": 3, "productgroup": 3,
    "discussionforumposting": 4, "qapage": 5, "itemlist": 6, "collectionpage": 7, "faqpage": 8, "recipe": 9,
    "comment": 10, "techarticle": 11,
}  # fmt: skip

FNV = 2166136261
_MASK = 0xFFFFFFFF
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def lower(text: str) -> str:
    """ASCII letters in lower case, the rest as it is."""
    return text.translate(_LOWER)


def fnv(hash_: int, number: int) -> int:
    """One step of the 32-bit FNV-1a hash, of a code point instead of a byte."""
    return ((hash_ ^ number) * 16777619) & _MASK


@lru_cache(maxsize=1 << 16)
def name_hash(name: str) -> int:
    """FNV-1a of a string's code points."""
    hash_ = FNV
    for character in name:
        hash_ = fnv(hash_, ord(character))
    return hash_


def salted(hash_: int, salt: int) -> int:
    """Key of a hashed word in one of its parts: text, heading, own class name and so on."""
    return ((hash_ ^ ((salt * 0x9E3779B1) & _MASK)) * 0x85EBCA6B) & _MASK


NAME_GROUPS = {name_hash(word): bit for bit, group in enumerate(_GROUPS) for word in group.split()}
AUTHOR_NAMES = {name_hash("author"), name_hash("byline")}


def is_letter(c: str) -> bool:
    """True for an ASCII letter."""
    return ("a" <= c <= "z") or ("A" <= c <= "Z")


def squeeze(value: str) -> str:
    """`value` in lower case without white space."""
    return lower(re.sub(r"[ \n\t\r\f]", "", value))


def number(text: str) -> int:
    """The number that `text` begins with, at most six digits of it."""
    value = 0
    for c in text:
        if not ("0" <= c <= "9") or value >= 100000:
            break
        value = 10 * value + int(c)
    return value
