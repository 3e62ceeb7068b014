"""Telephone numbers: candidates by their form, judged by the numbering plans in Google's libphonenumber.

Numbers look like many other things, so the form of a candidate decides what has to be shown:

- `+` and a country code: valid in that country;
- North American groups, (415) 555-2671: valid there;
- any other notation: a word for telephone (or another such number) just before it, and valid in a given region.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

Found = Iterator[tuple[int, int]]

_BLANK = "  \u2009\u202f"
_BETWEEN = rf"[\d{_BLANK}().\-\u2010-\u2013/]"
# The character before a match is looked at after its first character: `re` skips fast to a pattern's first one only.
_PLUS = re.compile(rf"\+(?<![\w+]\+)[{_BLANK}]?\(?\d{_BETWEEN}{{5,22}}\d(?!\w|[.,:]\d)")
_NORTH_AMERICA = re.compile(
    r"[(1-9](?<![\w.,/+\-–$€£=][(1-9])"
    r"(?:(?<=1)[ .-](?:\([2-9]\d\d\) ?|[2-9]\d\d[-.  ])|(?<=\()[2-9]\d\d\) ?|(?<=[2-9])\d\d[-.  ])"
    r"[2-9]\d\d[-.  ]\d{4}(?!\w|[-.,/:–]\d| \d{3})"
)
_PLAIN = re.compile(rf"[(\d](?<![\w.,/+$€£=(-][(\d]){_BETWEEN}{{5,21}}\d(?!\w|[.,:]\d)")
_CALL = re.compile(
    r"(?:\b(?:tel|telephone|phone|phones|mobile|cell|call|fax|whatsapp|hotline|telefon|telefax|fon|faks|handy|mobil|rufnummer|"
    r"tél|téléphone|portable|telefone|celular|fone|teléfono|telefono|móvil|cellulare|numero verde|ph|tlf|gsm)\b"
    r"|тел|телефон|факс|моб|电话|電話|手机|手機|传真|熱線|热线|फ़ोन|फोन|هاتف|جوال)(?:[^\w\n]|no\b|number\b|numbers\b|nr\b|us\b|at\b|on\b|is\b"
    r"|номер|号码|番号|номеру|по|a\b|t\b){0,12}$"
)
_NOT_CALL = re.compile(r"(?:isbn|issn|doi|arxiv|pmid|sku|ean|upc|order|invoice)[^\n]{0,8}$")
_NEXT = 6
"""A number so few characters after another, with no word between, is a telephone number too."""
_DIGITS = (7, 15)
"""Digits of a number with its country code: at most 15 (ITU-T E.164); fewer than 7 are public short codes."""


def phones(text: str, regions: Sequence[str]) -> Found:
    """Telephone numbers, some of them twice; `regions` (ISO 3166) are those whose national notation is understood."""
    if "+" in text:
        for match in _PLUS.finditer(text):
            end = _valid_prefix(match[0], None)
            if end:
                yield match.start(), match.start() + end
    if "US" in regions:
        for match in _NORTH_AMERICA.finditer(text):
            if _is_valid(match[0], "US") and not _NOT_CALL.search(_before(text, match.start())):
                yield match.span()
    last = -_NEXT
    for match in _PLAIN.finditer(text):
        start, before = match.start(), _before(text, match.start())
        another = start - last < _NEXT and not any(map(str.isalnum, text[last:start]))
        if another or (_CALL.search(before) and not _NOT_CALL.search(before)):
            end = max(_valid_prefix(match[0], region) for region in regions) if regions else 0
            if end:
                last = start + end
                yield start, last


def _before(text: str, start: int) -> str:
    return text[max(0, start - 32) : start].lower()


def _valid_prefix(candidate: str, region: str | None) -> int:
    """Characters of the candidate, from its start, that make a valid number; 0 for none. Another number may follow
    after a blank, a slash or a bracket; up to three digits more belong to it, in another country's notation."""
    end = len(candidate)
    while end > 0:
        part = candidate[:end].rstrip(" ().-/\u00a0\u2009\u202f–")
        rest = sum(map(str.isdigit, candidate[end:]))
        if (rest == 0 or rest > 3) and _is_valid(part, region):
            return len(part)
        end = max(part.rfind(mark) for mark in (*_BLANK, "/", "("))
    return 0


@lru_cache(maxsize=4096)
def _is_valid(candidate: str, region: str | None) -> bool:
    digits = sum(map(str.isdigit, candidate))
    if not _DIGITS[0] <= digits <= _DIGITS[1] or candidate.count("(") != candidate.count(")"):
        return False
    import phonenumbers  # in workers that meet a candidate only

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(candidate, region))
    except phonenumbers.NumberParseException:
        return False
