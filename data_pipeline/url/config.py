"""Options of the URL filter."""

from __future__ import annotations

from pydantic import Field

from millbase.config import Config


class UrlConfig(Config):
    """Drops pages by their address. All comparisons ignore case; hosts of other scripts compare as their IDNA form, and
    percent-encoding is undone. Lists are local or remote files, compressed or not; `#` starts a comment."""

    enabled: bool = True
    """Whether to filter by address at all."""
    domain_lists: list[str] = []
    """Files of domains, one a line (hosts-file lines work too). A domain blocks itself and all its subdomains."""
    address_lists: list[str] = []
    """Files of single addresses to block, such as `example.org/some/page`; scheme, `www.`, a final slash and the
    fragment make no difference."""
    use_ut1: bool = False
    """Also block the 4.6 million domains and 19,587 addresses of the UT1 adult, phishing and other lists that datatrove
    ships."""
    allow_lists: list[str] = []
    """Files of domains whose pages, and those of their subdomains, pass whatever the other lists say."""
    banned_words: list[str] = []
    """Files of words; an address that has one of them as a whole word is dropped."""
    banned_subwords: list[str] = []
    """Files of character sequences; an address that holds one of them anywhere is dropped; only letters and
    digits count."""
    soft_banned_words: list[str] = []
    """Files of words of which `soft_word_threshold` different ones must be in the address."""
    use_fineweb_words: bool = False
    """Also use the banned, banned sub- and soft-banned words that datatrove ships and FineWeb was made with."""
    soft_word_threshold: int = Field(default=2, ge=1)
    """How many different soft-banned words an address may not reach."""
