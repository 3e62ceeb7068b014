"""RefinedWeb's line-wise corrections (Penedo et al. 2023, "The RefinedWeb Dataset", appendix G.2).

The paper names the kinds of lines and an example of each; the words below, English ones, are our reading of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from datatrove.data import Document
from pydantic import Field

from data_pipeline.base import DropLog, Measure
from data_pipeline.base.rules import RuleFilter, at_most
from data_pipeline.native.characters import line_word_pattern
from millbase.config import Config

_COUNTED = (
    "likes?|shares?|comments?|retweets?|reposts?|quotes?|bookmarks?|upvotes?|downvotes?|downloads?|views?|followers?"
    "|following|votes?|repl(?:y|ies)|posts?|ratings?|reviews?|points?|answers?|reads?|hits?"
)
_COUNTER = re.compile(rf"\W*(?:\d[\d.,]*\s*[km]?\s+(?:{_COUNTED})\W*)+", re.IGNORECASE)
_START = re.compile(r"(?:sign|log)[ -]?(?:in|out|up)\b[\s|:.·-]*", re.IGNORECASE)
_END = re.compile(r"[\s|:·-]*\b(?:read|see|show|learn|load) more\W*$", re.IGNORECASE)
_ANYWHERE = re.compile(r"\b(?:\d+ )?items? in (?:your )?(?:cart|basket|bag)\b", re.IGNORECASE)


class RefinedWebConfig(Config):
    """Removes lines that belong to the page's machinery, and drops documents that lose too much by it."""

    enabled: bool = False
    """Whether to clean lines. Off by default: on human-reviewed pages it removes more good lines than bad ones."""
    max_uppercase: float | None = Field(default=0.5, ge=0, le=1)
    """Remove lines with a larger share of capitals among their letters; null keeps them."""
    remove_numbers: bool = True
    """Remove lines without any letter."""
    remove_counters: bool = True
    """Remove lines such as `3 likes`."""
    remove_single_words: bool = True
    """Remove lines of one word."""
    edit_short_lines: bool = True
    """In lines of at most `short_line_words` words, remove `sign in` at the start, `read more` at the end, `items in
    cart` anywhere."""
    short_line_words: int = Field(default=10, ge=1)
    """Longest line that is edited."""
    max_removed_words: float | None = Field(default=0.05, ge=0, le=1)
    """Drop documents that lose a larger share of their words; null only cleans."""


class RefinedWebFilter(RuleFilter):
    """Cleans the lines of a document; drops it when that takes too much."""

    name = "🦅 RefinedWeb lines"
    step_name = "refinedweb"

    def __init__(self, config: RefinedWebConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self._text = ""

    def rules(self, document: Document) -> Iterator[Measure]:
        """`removed_words`, the share of words in what the rules on lines take out."""
        words, left, lines = 0, 0, []
        for line in document.text.split("\n"):
            kept = clean_line(line, self.config)
            words += count_words(line)
            left += count_words(kept) if kept else 0
            if kept is not None:
                lines.append(kept)
        self._text = "\n".join(lines).strip()
        if self.config.max_removed_words is not None:
            yield at_most("removed_words", (words - left) / max(words, 1), self.config.max_removed_words)

    def finish(self, document: Document) -> None:
        """Rewrite the text from the lines kept."""
        if self._text != document.text:
            document.text = self._text


def clean_line(line: str, config: RefinedWebConfig) -> str | None:
    """The line, perhaps edited, or None when it goes. Blank lines stay."""
    stripped = line.strip()
    if not stripped:
        return line
    if config.remove_counters and _COUNTER.fullmatch(stripped):
        return None
    words = count_words(stripped)
    if config.edit_short_lines and words <= config.short_line_words:
        edited = _ANYWHERE.sub(
            "", _END.sub("", _START.sub("", stripped, count=1) if _START.match(stripped) else stripped)
        )
        if not edited.strip():
            return None
        if edited != stripped:
            line = stripped = edited.strip()
            words = count_words(stripped)
    if config.remove_single_words and words <= 1:
        return None
    letters = sum(map(str.isalpha, stripped))
    if config.remove_numbers and not letters:
        return None
    capitals = sum(map(str.isupper, stripped)) if config.max_uppercase is not None and letters else 0
    return None if config.max_uppercase is not None and capitals > config.max_uppercase * letters else line


def count_words(line: str) -> int:
    """Words between white space; letters of scripts without blanks one by one."""
    return len(line.split()) if line.isascii() else len(line_word_pattern().findall(line))
