"""Options of the bad-word and toxicity steps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millbase.config import Config


class BadWordsConfig(Config):
    """Counts the words of a list in every document; drops nothing unless a limit is set.

    With `max_count: 0` the decisions are those of C4 (Raffel et al. 2020, section 2.2) and of datatrove's
    C4BadWordsFilter. Such lists are blunt: they know no contexts, and drop pages on medicine, law and minorities
    (Dodge et al. 2021). A limit on the share is milder.
    """

    lists: dict[str, str] = {}
    """Language code -> path of its list: a JSON array, or a word or phrase a line (also .gz, .zst). Documents in other
    languages have no count. None given: the step is off."""
    default_language: str = "en"
    """The language of documents whose language is not known, for the language step is off."""
    max_count: int | None = Field(default=None, ge=0)
    """Documents with more matches are dropped; null for no limit."""
    max_share: float | None = Field(default=None, ge=0.0, le=1.0)
    """Documents in which matches make up a larger share of the characters are dropped; null for no limit."""
    keep_fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the documents over a limit that is kept all the same, chosen by a hash of the id (mC4 kept some)."""
    allow: list[str] = ["sm", "グロ", "女の子", "性"]
    """Entries to ignore; these are common parts of Japanese and Chinese words (mC4's and datatrove's)."""
    seed: int = Field(default=0, ge=0)
    """Chooses the documents that `keep_fraction` keeps."""


class ToxicityConfig(Config):
    """Scores documents with a fastText model of toxic, hateful or adult text, as Dolma does (Soldaini et al. 2024);
    drops nothing unless a limit is set."""

    model: str | None = None
    """A fastText classifier (.bin, .ftz), or a `quality-model` artifact whose positives were toxic texts; null switches
    the step off."""
    label: str = "__label__toxic"
    """The label whose probability is the score; an artifact needs none."""
    max_score: float | None = Field(default=None, ge=0.0, le=1.0)
    """Documents that score more are dropped; null for no limit."""
    unit: Literal["document", "line"] = "document"
    """`document` scores the text in one piece; `line` each line of its own, and takes the highest score, for one insult
    is lost in a long page."""
    max_characters: int = Field(default=5000, gt=0)
    """Only the first so many characters are read."""
