"""Classes of characters that Python's own tables do not give: what continues a word, and what is a word of its own.

Combining marks continue the word they stand in: Python's `\\w` leaves out the vowel signs of Hindi, Thai or Arabic.
Han, hiragana, and the letters of Thai, Lao, Khmer and Burmese are written without blanks; each is a word of its own.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_JOINERS = "\u00ad\u200c\u200d"  # soft hyphen, and the joiners of Indic scripts and Persian

_UNSPACED = (
    (0x0E01, 0x0E4F),  # Thai
    (0x0E80, 0x0EFF),  # Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # iteration mark and zero of Han
    (0x3041, 0x309F),  # hiragana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)


@cache
def marks() -> str:
    """Every combining mark (Unicode categories Mn, Mc, Me) and the joiners."""
    candidates = (*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0))
    return _JOINERS + "".join(chr(c) for c in candidates if unicodedata.category(chr(c))[0] == "M")


@cache
def alone() -> str:
    """Every letter that is a word of its own."""
    return "".join(chr(c) for first, last in _UNSPACED for c in range(first, last + 1) if chr(c).isalpha())


@cache
def word_pattern() -> re.Pattern[str]:
    """The words of a text, for `findall`: letters of unspaced scripts with their marks; runs of letters, digits,
    underscores and marks, with one inner apostrophe; single other characters."""
    mark, single = _set(marks()), _set(alone())
    run = rf"(?:(?![{single}])[\w{mark}])+"
    return re.compile(rf"[{single}][{mark}]*|{run}(?:['’]{run})?|[^\w\s{mark}]")


@cache
def line_word_pattern() -> re.Pattern[str]:
    """Words between white space, letters of unspaced scripts one by one, for `findall`."""
    mark, single = _set(marks()), _set(alone())
    return re.compile(rf"([{single}])[{mark}]*|((?:(?![{single}])\S)+)")


def _set(characters: str) -> str:
    """The inside of a character class of a regular expression: runs of code points as ranges."""
    points = sorted(map(ord, characters))
    parts: list[str] = []
    start = previous = points[0]
    for point in [*points[1:], -1]:
        if point != previous + 1:
            parts.append(f"\\U{start:08x}-\\U{previous:08x}")
            start = point
        previous = point
    return "".join(parts)
