"""How a page's characters become bytes, and where the page says so."""

from dataclasses import dataclass
from random import Random

from data_pipeline.synthetic.grammar import pick


@dataclass(frozen=True)
class Charset:
    """A codec and the place that declares it."""

    codec: str
    """Python's name of the codec."""
    declared: str
    """``header``, ``meta``, ``bom`` or ``none``."""

    @property
    def label(self) -> str:
        """The name as pages write it."""
        return {"cp932": "shift_jis", "utf-16": "utf-16le"}.get(self.codec, self.codec)

    @property
    def content_type(self) -> str:
        """Value of the HTTP header."""
        return f"text/html; charset={self.label}" if self.declared == "header" else "text/html"

    @property
    def meta(self) -> str:
        """Element for the head of the page."""
        return f'<meta charset="{self.label}">' if self.declared == "meta" else ""

    def encode(self, text: str) -> bytes:
        """`text` as bytes; what the codec lacks becomes a numeric character reference."""
        if self.declared == "bom":
            return text.encode("utf-16" if self.codec == "utf-16" else "utf-8-sig")
        return text.encode(self.codec, "xmlcharrefreplace")


USUAL = (Charset("utf-8", "header"), Charset("utf-8", "header"), Charset("utf-8", "meta"), Charset("utf-8", "meta"),
         Charset("utf-8", "none"))  # fmt: skip
"""Charsets of ordinary pages."""

ENCODED_ENGLISH = (
    Charset("iso-8859-1", "header"), Charset("iso-8859-1", "meta"), Charset("windows-1252", "header"),
    Charset("windows-1252", "meta"), Charset("windows-1252", "none"), Charset("utf-16", "bom"), Charset("utf-8", "bom"),
    Charset("windows-1251", "header"), Charset("cp932", "meta"), Charset("gb18030", "header"), Charset("utf-8", "none"),
)  # fmt: skip
"""Charsets of the English pages that test decoding."""

_WESTERN = (Charset("iso-8859-1", "header"), Charset("windows-1252", "meta"), Charset("windows-1252", "none"))
FOREIGN: dict[str, tuple[Charset, ...]] = {
    "de": _WESTERN, "fr": _WESTERN, "es": _WESTERN, "it": _WESTERN, "pt": _WESTERN, "nl": _WESTERN,
    "pl": (Charset("iso-8859-2", "header"), Charset("windows-1250", "meta")),
    "ru": (Charset("windows-1251", "header"), Charset("windows-1251", "meta"), Charset("windows-1251", "none"),
           Charset("koi8-r", "header")),
    "zh": (Charset("gb18030", "header"), Charset("gb18030", "meta"), Charset("gb18030", "none"),
           Charset("utf-16", "bom")),
    "ja": (Charset("cp932", "header"), Charset("cp932", "meta"), Charset("cp932", "none"), Charset("euc-jp", "meta")),
}  # fmt: skip
"""Language -> charsets of its pages besides UTF-8."""


def typographic(rng: Random, text: str, charset: Charset) -> str:
    """`text` with typographic quotes, and accents that `charset` can hold, so that a wrong decoding shows."""
    text = text.replace("'", "\u2019")
    parts = text.split('"')
    text = "".join(
        part + ("" if i == len(parts) - 1 else "\u201c" if i % 2 == 0 else "\u201d") for i, part in enumerate(parts)
    )
    additions = (
        "They call it a caf\u00e9 na\u00efve style.",
        "It was \u2013 as always \u2013 quite good.",
        "The clich\u00e9 is true.",
    )
    return f"{text} {pick(rng, additions)}" if _fits(additions, charset) else text


def _fits(texts: tuple[str, ...], charset: Charset) -> bool:
    try:
        for text in texts:
            text.encode(charset.codec)
    except UnicodeEncodeError:
        return False
    return True
