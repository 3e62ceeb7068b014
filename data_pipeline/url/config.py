"""Options of the URL filter."""

from __future__ import annotations

from pydantic import Field

from millbase.config import Config


class UrlConfig(Config):
    """Drops pages by their address. All comparisons ignore case."""

    enabled: bool = True
    """Whether to filter by address at all."""
    domain_lists: list[str] = []
    """Files of domains, one a line (`#` starts a comment; hosts-file lines work too). A domain blocks itself and all
    its subdomains."""
    use_ut1: bool = False
    """Also block the 4.6 million domains of the UT1 adult, phishing and other lists that datatrove ships."""
    banned_words: list[str] = []
    """Files of words; an address that has one of them as a whole word is dropped."""
    banned_subwords: list[str] = []
    """Files of character sequences; an address that holds one of them anywhere is dropped."""
    soft_banned_words: list[str] = []
    """Files of words of which `soft_word_threshold` different ones must be in the address."""
    soft_word_threshold: int = Field(default=2, ge=1)
    """How many different soft-banned words an address may not reach."""
