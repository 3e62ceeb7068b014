"""E-mail and IP addresses. Each function yields (start, end) of what it finds, in order."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

Found = Iterator[tuple[int, int]]

# Read outwards from each `@`: a search for whole addresses tries every word of the text as a beginning.
_LOCAL = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z0-9](?:[A-Za-z0-9._%+'&-]{0,62}[A-Za-z0-9_+-])?$|(?<!\w)_[\w.+-]{1,62}$", re.A
)
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,40})")
_LONGEST_LOCAL = 65
_EXAMPLES = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org|edu))?|test|invalid|localhost|local)$")
"""RFC 2606 and RFC 6761."""
_FILE_ENDINGS = re.compile(
    r"\.(?:png|jpe?g|gif|webp|svg|css|js|html?|php|json|xml|pdf|mp[34]|avif|ico|service|socket|target|timer|mount|slice)$"
)
"""What ends `icon@2x.png` and systemd's `getty@tty1.service`; none of them is a top-level domain."""

# The character before a match is looked at after its first digit: `re` skips fast to a pattern's first character only.
_IPV4 = re.compile(r"[0-9](?<![\w.][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?!\w|\.\w|-\w)")
_IPV6 = re.compile(r"[23](?<![\w:.][23])[0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NUMBERING = re.compile(
    r"(?:version|versions|ver|vers|release|build|firmware|driver|kernel|update|upgrade|patch|section|sections|sec|chapter|"
    r"clause|paragraph|article|figure|fig|table|rule|oid|[a-z]\w*[/_-]|§|№)[.:#=]?[^\S\n]*[(\[\"']?$"
)
_SMALL = 32
"""Four numbers all below this are a version or a section (12.1.2.5, 3.9.9.12) far more often than one of the 0.02% of
addresses that look so; those of everyone's name servers (8.8.8.8) are no one's either."""


def emails(text: str) -> Found:
    """E-mail addresses, but for domains reserved for examples, `user@host` in URLs and before `:path`, files."""
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        local = _LOCAL.search(text[max(0, at - _LONGEST_LOCAL) : at]) if domain else None
        if domain and local and _is_mail(text, at - len(local[0]), domain):
            yield at - len(local[0]), domain.end()
        at = text.find("@", at + 1)


def _is_mail(text: str, start: int, domain: re.Match[str]) -> bool:
    name = domain[0].lower()
    if _EXAMPLES.search(name) or _FILE_ENDINGS.search(name):
        return False
    remote = text[domain.end() : domain.end() + 1] == ":" and text[domain.end() + 1 : domain.end() + 2].isalnum()
    return text[max(0, start - 3) : start] not in ("://", "//") and text[start - 1 : start] != "@" and not remote


def ipv4_addresses(text: str) -> Found:
    """Public IPv4 addresses; version and section numbers are told by their size and the word before them."""
    for match in _IPV4.finditer(text):
        start = match.start()
        if is_public_ipv4(match[0]) and not _NUMBERING.search(text[max(0, start - 24) : start].lower()):
            yield match.span()


def is_public_ipv4(address: str) -> bool:
    """Whether the address can belong to somebody."""
    try:
        return ipaddress.IPv4Address(address).is_global and max(map(int, address.split("."))) >= _SMALL
    except ValueError:  # a number above 255, or a leading zero
        return False


def ipv6_addresses(text: str) -> Found:
    """Public IPv6 addresses: in the range that is given out, 2000::/3 (RFC 4291)."""
    if text.count(":") < 3:
        return
    for match in _IPV6.finditer(text):
        try:
            address = ipaddress.IPv6Address(match[0])
        except ValueError:
            continue
        if address.is_global and address in _GLOBAL_UNICAST:
            yield match.span()
