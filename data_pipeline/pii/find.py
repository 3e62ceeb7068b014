"""All kinds of personal data in one text, without overlaps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from data_pipeline.pii.accounts import cards, ibans
from data_pipeline.pii.config import PiiConfig
from data_pipeline.pii.network import emails, ipv4_addresses, ipv6_addresses
from data_pipeline.pii.phone import phones
from data_pipeline.pii.secret import keys

KINDS = ("email", "ip", "phone", "key", "card", "iban")
"""Kinds that are counted, as the columns of `pii` name them."""


class Span(NamedTuple):
    """One finding: `text[start:end]`."""

    start: int
    end: int
    kind: str
    """One of `KINDS`."""
    placeholders: tuple[str, ...]
    """What may stand instead."""


def find_pii(text: str, config: PiiConfig) -> list[Span]:
    """Everything that the configuration asks for, in order of place. Where findings overlap, the surer kind wins: keys,
    e-mail, bank accounts, cards, IP addresses, telephone numbers."""
    spans: list[Span] = []
    for kind, placeholders, found in _finders(text, config):
        for start, end in found:
            place = bisect_left(spans, (start,))
            before = spans[place - 1].end if place else 0
            after = spans[place].start if place < len(spans) else len(text)
            if before <= start and end <= after:
                spans.insert(place, Span(start, end, kind, placeholders))
    return spans


def _finders(text: str, config: PiiConfig) -> Iterator[tuple[str, tuple[str, ...], Iterable[tuple[int, int]]]]:
    """(kind, placeholders, findings) for each kind that is wanted, the surest first."""
    if config.keys is not None:
        yield "key", tuple(config.keys), keys(text)
    if config.emails is not None:
        yield "email", tuple(config.emails), emails(text)
    if config.ibans is not None:
        yield "iban", tuple(config.ibans), ibans(text)
    if config.cards is not None:
        yield "card", tuple(config.cards), cards(text)
    if config.ipv4 is not None:
        yield "ip", tuple(config.ipv4), ipv4_addresses(text)
    if config.ipv6 is not None:
        yield "ip", tuple(config.ipv6), ipv6_addresses(text)
    if config.phones is not None:
        yield "phone", tuple(config.phones), phones(text, config.phone_regions)
