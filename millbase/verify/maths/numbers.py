"""Answers that are plain numbers, read without a computer algebra system."""

from __future__ import annotations

import re
from fractions import Fraction

_PLAIN = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)?(\.\d+)?(?:[eE]([+-]?\d{1,3}))?")
_FRACTION = re.compile(r"([+-]?)\\?[dt]?frac\s*\{\s*([+-]?[\d,.]+)\s*\}\s*\{\s*([+-]?[\d,.]+)\s*\}")
_SLASH = re.compile(r"([+-]?[\d,.]+)\s*/\s*([+-]?[\d,.]+)")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}")
_LONGEST = 100
"""Characters; what is longer is no plain number."""


def parse_number(text: str) -> Fraction | None:
    r"""The exact value of a number such as `-1,234.5`, `$18`, `50\%`, `3/4`, `\frac{3}{4}`; None for anything else."""
    text = _TEXT.sub("", text.strip().strip("$").strip()).strip()
    text = text.replace(r"\!", "").replace(r"\,", "").replace(r"\$", "").replace("$", "").replace("−", "-")
    text = text.removesuffix(".").strip() if not re.search(r"\.\d+$", text) else text
    if not 0 < len(text) <= _LONGEST:
        return None
    scale = Fraction(1)
    if text.endswith("%"):
        text, scale = text[:-1].rstrip("\\").strip(), Fraction(1, 100)
    for pattern in (_FRACTION, _SLASH):
        found = pattern.fullmatch(text)
        if found:
            *sign, above, below = found.groups()
            top, bottom = _plain(above), _plain(below)
            if top is None or not bottom:
                return None
            return (-1 if sign == ["-"] else 1) * scale * top / bottom
    value = _plain(text)
    return None if value is None else scale * value


def _plain(text: str) -> Fraction | None:
    found = _PLAIN.fullmatch(text.strip())
    if not found or not (found.group(2) or found.group(3)):
        return None
    sign, whole, decimals, exponent = found.groups()
    value = Fraction((whole or "0").replace(",", "") + (decimals or ""))
    return (-1 if sign == "-" else 1) * value * Fraction(10) ** int(exponent or 0)
