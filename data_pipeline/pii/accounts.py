"""Payment card and bank account numbers: their form, then their check digits. Spans as in `network`."""

from __future__ import annotations

import re
from collections.abc import Iterator

Found = Iterator[tuple[int, int]]

# Groups of one separator, as cards print them; 13 digits without groups are more often an article number (EAN).
_CARD = re.compile(
    r"[2-6](?<![\w.,/+-][2-6])\d{3}(?:([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|([ -])\d{6}\2\d{4,5}|\d{10,12})"
    r"(?![\w/]|[.,-]\d|[ -]\d{4})",
    re.A,
)
_ISSUERS = re.compile(
    r"4\d{15}(?:\d{3})?"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}"  # Discover
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14}(?:\d{3})?"  # UnionPay
)
_IBAN = re.compile(
    r"[A-Z](?<![A-Za-z0-9][A-Z])[A-Z][0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"
)
# fmt: off
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SD": 18,
    "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22,
    "VG": 24, "XK": 20,
}
"""Characters of an IBAN by country (the SWIFT IBAN registry)."""
# fmt: on


def cards(text: str) -> Found:
    """Card numbers of the large issuers with a right Luhn digit (ISO/IEC 7812)."""
    for match in _CARD.finditer(text):
        digits = match[0].replace(" ", "").replace("-", "")
        if _ISSUERS.fullmatch(digits) and luhn(digits):
            yield match.span()


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    values = [int(digit) for digit in reversed(digits)]
    doubled = [sum(divmod(2 * value, 10)) for value in values[1::2]]
    return (sum(values[::2]) + sum(doubled)) % 10 == 0


def ibans(text: str) -> Found:
    """International bank account numbers of the right length for their country, with right check digits."""
    for match in _IBAN.finditer(text):
        end = _iban_end(text, match.start(), match.end())
        if end is not None:
            yield match.start(), end


def _iban_end(text: str, start: int, end: int) -> int | None:
    """Where the account number that starts at `start` ends; a word in capitals may follow it."""
    length = _IBAN_LENGTHS.get(text[start : start + 2])
    position, taken = start, ""
    while length is not None and position < end and len(taken) < length:
        if text[position] not in " -":
            taken += text[position]
        position += 1
    whole = length is not None and len(taken) == length and not text[position : position + 1].isalnum()
    return position if whole and iban_checks(taken) else None


def iban_checks(account: str) -> bool:
    """Whether the check digits of an IBAN without blanks are right (ISO 13616, ISO 7064 MOD 97-10)."""
    rearranged = account[4:] + account[:4]
    return int("".join(str(int(character, 36)) for character in rearranged)) % 97 == 1
