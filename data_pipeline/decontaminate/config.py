"""Options of decontamination: which evaluation sets are looked for, by which published rule, and what follows.

The rules:

- `ngram`, GPT-3 (Brown et al. 2020, appendix C): any run of 13 words that an evaluation item and a document share.
  Runs that occur in more than 10 documents are taken for common phrases and ignored.
- `coverage`, Tülu 3 (Lambert et al. 2024, section 3.2) and, for measuring, Llama 3 (Dubey et al. 2024, section 5.1.4):
  runs of 8 shared words; an item is found in a document when they cover at least half of the item's words.
- `paragraph`, OLMo's Dolma and Paloma (Soldaini et al. 2024; Magnusson et al. 2023): a paragraph of at least 13 words
  of an evaluation item that stands in a document as a paragraph of its own.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config


class EvaluationSet(Config):
    """Items that a model is to be tested on, and that its corpus therefore must not hold."""

    name: str = Field(min_length=1)
    """Stands in the dropped table and the report."""
    path: str | list[str]
    """Path or glob, or a list of them: .jsonl, .parquet, .arrow, .csv, .txt (one item a file), text also .gz or
    .zst."""
    fields: list[str] = []
    """Which fields of an item are looked for, such as `question` or `choices.text`; a list's strings are joined by line
    breaks. None given: every string in the item, each by itself."""
    id_field: str | None = None
    """Names items in the report; null takes the number of the record in its file, from 0."""


class DecontaminateConfig(Config):
    """Finds evaluation items in documents by their words: lower-cased, without punctuation and white space; Chinese and
    Japanese characters are words of their own."""

    sets: list[EvaluationSet] = []
    """What is looked for; none given, the step is off."""
    method: Literal["ngram", "coverage", "paragraph"] = "ngram"
    """`ngram`: a shared run of `n` words (GPT-3). `coverage`: shared runs cover `min_share` of a text of the item (Tülu
    3, Llama 3). `paragraph`: a shared paragraph (Dolma)."""
    n: int | None = Field(default=None, ge=2, le=64)
    """Words in a run; null takes the method's published number, 13 for `ngram` and 8 for `coverage`."""
    min_words: int | None = Field(default=None, ge=1)
    """Texts (for `paragraph`: paragraphs) of fewer words are not looked for, for they are found by chance. Those of
    fewer than `n` are looked for whole. Null: 8, the least that GPT-3 took, and 13 for `paragraph`."""
    min_share: float = Field(default=0.5, gt=0.0, le=1.0)
    """`coverage`: the share of a text's words that one document must share with it."""
    max_documents: int | None = Field(default=10, ge=1)
    """Runs in more documents than this are common phrases and count for nothing (GPT-3: 10); null counts all."""
    sure_share: float | None = Field(default=0.8, gt=0.0, le=1.0)
    """A text of which a document holds at least this share counts even when its runs are in many documents: a test item
    that the web copied often is no common phrase. Null leaves common runs out always, as GPT-3 does."""
    action: Literal["drop", "remove"] = "drop"
    """`drop` the document, or `remove` the shared runs with `context_characters` on both sides."""
    context_characters: int = Field(default=200, ge=0)
    """`remove`: characters that go with a run, before and after it, and then up to the next white space (GPT-3:
    200)."""
    min_piece_characters: int = Field(default=200, ge=0)
    """`remove`: what is left between two removals must be this long to stay (GPT-3: 200)."""
    max_pieces: int = Field(default=10, ge=1)
    """`remove`: a document that falls into more pieces is dropped (GPT-3: 10)."""
    examples: int = Field(default=3, ge=0)
    """Documents that the report names for each item."""

    @property
    def enabled(self) -> bool:
        """True when there is anything to look for."""
        return bool(self.sets)

    @property
    def run_words(self) -> int:
        """Words in a run, the default filled in."""
        return self.n or (8 if self.method == "coverage" else 13)

    @property
    def least_words(self) -> int:
        """The shortest text looked for, in words, the default filled in."""
        return self.min_words or (13 if self.method == "paragraph" else 8)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [item.name for item in self.sets]
        if len(set(names)) < len(names):
            raise ValueError(f"names of evaluation sets must differ, found {', '.join(names)}")
        return self
