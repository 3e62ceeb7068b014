"""What is compared, and when an item counts as found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millbase.config import Config


class ContaminationConfig(Config):
    """Looks for every item of an evaluation in the corpus its model was trained on."""

    scores: str
    """Scores artifact; its items' prompts and answers are looked for."""
    corpus: str
    """Corpus artifact that the model was trained on."""
    method: Literal["ngram", "coverage"] = "coverage"
    """`ngram`: one shared run of `n` words is enough (GPT-3). `coverage`: shared runs cover `min_share` of the item's
    words (Tülu 3, Llama 3)."""
    n: int | None = Field(default=None, ge=2, le=64)
    """Words in a run; null takes the method's published number, 13 for `ngram` and 8 for `coverage`."""
    min_share: float = Field(default=0.5, gt=0, le=1)
    """`coverage`: the share of an item's words that one document must share with it."""
    minhash_similarity: float | None = Field(default=0.6, gt=0, le=1)
    """An item is found also when its MinHash similarity to a whole document is at least this, word order aside in
    between; null compares runs of words only."""
