"""Options of the removal of personal data."""

from __future__ import annotations

from pydantic import field_validator

from millbase.config import Config

_Placeholders = list[str] | None
_REGIONS = [
    "US", "GB", "AU", "DE", "AT", "CH", "FR", "BE", "NL", "ES", "MX", "AR", "IT", "PT", "BR", "PL", "CZ", "RU", "UA",
    "TR", "IN", "CN", "TW", "JP", "KR",
]  # fmt: skip


class PiiConfig(Config):
    """Replaces personal and secret data by placeholders; a list of null leaves its kind as it is.

    Within a document the first value found gets the first placeholder, another value the next one, and so on in turn;
    the same value always gets the same one. A replaced text holds nothing that would be found again.
    """

    enabled: bool = False
    """Whether to look for personal data at all; without, the column `pii` is null."""
    emails: _Placeholders = ["email@example.com", "firstname.lastname@example.org"]
    """E-mail addresses (FineWeb's placeholders). Domains reserved for examples (RFC 2606) are no one's."""
    ipv4: _Placeholders = ["192.0.2.1", "198.51.100.1", "203.0.113.1"]
    """Public IPv4 addresses (placeholders from RFC 5737); private and reserved ranges are no one's."""
    ipv6: _Placeholders = ["2001:db8::1", "2001:db8::2"]
    """Public IPv6 addresses (placeholders from RFC 3849)."""
    phones: _Placeholders = ["<phone number>"]
    """Telephone numbers that the numbering plans of `phone_regions`, or with `+` of any country, allow."""
    keys: _Placeholders = ["<secret key>"]
    """Keys and tokens of known services, JSON web tokens, private key blocks."""
    cards: _Placeholders = ["<card number>"]
    """Payment card numbers with a right check digit."""
    ibans: _Placeholders = ["<bank account>"]
    """International bank account numbers with right check digits."""
    phone_regions: list[str] = _REGIONS
    """Countries (ISO 3166) whose national notation is understood. But for that of North America, it counts only after a
    word such as `Tel.`, for nothing else sets it apart from other numbers."""

    @field_validator("phone_regions")
    @classmethod
    def _known_regions(cls, regions: list[str]) -> list[str]:
        if regions == _REGIONS:
            return regions
        from phonenumbers import SUPPORTED_REGIONS  # 0.1 s, and not needed by most

        for region in regions:
            if region not in SUPPORTED_REGIONS:
                raise ValueError(f"unknown region {region!r}: expected ISO 3166 codes such as US, GB, DE")
        return regions
