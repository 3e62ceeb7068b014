"""Options of duplicate removal."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from data_pipeline.minhash import MinHashConfig
from millbase.config import Config


class ParagraphConfig(Config):
    """Removes paragraphs that stand in several documents of the corpus from all but some of them.

    As CCNet (Wenzek et al. 2020, section 3.1) and RefinedWeb (Penedo et al. 2023, G.2) do, but what is left alone is
    chosen by `dedup.keep` rather than by the order of files. Paragraphs are compared as their words in lower case.
    """

    enabled: bool = False
    """Remove repeated paragraphs."""
    unit: Literal["line", "paragraph"] = "line"
    """What is compared: single lines, or blocks between blank lines."""
    max_documents: int = Field(default=1, ge=1)
    """A paragraph in more documents than this is removed from all but `keep` of them."""
    keep: int = Field(default=1, ge=0)
    """How many of those documents, the best by `dedup.keep`, retain it; 0: none."""
    min_words: int = Field(default=5, ge=1)
    """Shorter paragraphs (headings, closing brackets) are left alone; a Han or kana character is a word."""
    min_left_characters: int = Field(default=100, ge=0)
    """A document of which less is left is dropped, if anything was removed."""

    @model_validator(mode="after")
    def _keeps_no_more_than_allowed(self) -> Self:
        if self.keep > self.max_documents:
            raise ValueError(f"keep={self.keep} is more than max_documents={self.max_documents}; lower keep")
        return self


class SubstringConfig(Config):
    """Removes every run of words that stands in a better document, or earlier in the same one (Lee et al. 2022).

    Finds exactly the runs of `min_words` equal words or more; see `dedup/substrings.py` for why.
    """

    enabled: bool = False
    """Remove repeated runs of words."""
    min_words: int = Field(default=50, ge=10)
    """Length of the shortest run that counts. Lee et al. take 50 tokens of a subword tokenizer, about 38 words."""
    min_left_characters: int = Field(default=100, ge=0)
    """A document of which less is left is dropped, if anything was removed."""


class DedupConfig(Config):
    """Removes all but one of each group of equal or nearly equal documents, over all sources together."""

    url: bool = False
    """Keep one document for each address (see `dedup/url.py` for what is ignored in it)."""
    exact: bool = True
    """Drop documents whose text equals another's, white space aside."""
    near: bool = True
    """Drop near-duplicates found by MinHash."""
    keep: Literal["longest", "best_quality", "oldest", "newest", "first"] = "longest"
    """Which member of a group survives: the longest, the one with the best quality score, the one captured first or
    last (those without a date come last), or the first in input order. Ties go to the better quality, the longer text,
    and at last the smaller id."""
    minhash: MinHashConfig = MinHashConfig()
    """How near-duplicates are found."""
    paragraphs: ParagraphConfig = ParagraphConfig()
    """Paragraphs that several of the documents left share."""
    substrings: SubstringConfig = SubstringConfig()
    """Runs of words that several of the documents left share."""
    against: list[str] = []
    """`dedup-index` artifacts of earlier builds: what is a duplicate of a document in them is dropped. For addresses,
    equal texts and near-duplicates; the index must have been made with the same `minhash` settings."""
    index: str | None = None
    """Write a `dedup-index` artifact of the documents kept to this path, for later builds' `against`."""
    memory_bytes: int = Field(default=2 << 30, ge=1 << 20)
    """Memory for sorting and comparing; what takes more goes to the build's work directory. The result does not depend
    on it."""
