"""Options of the training of perplexity models."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from data_pipeline.quality.config import CrawlSample
from data_pipeline.texts import TextSource
from millbase.config import Config


class PerplexityModelConfig(Config):
    """An n-gram model with modified Kneser-Ney smoothing, trained here or given, and the buckets that it cuts a sample
    of the crawl into."""

    texts: list[TextSource] = []
    """Good text to train on, such as Wikipedia in the language. All its tokens are held in memory, 16 bytes each and
    more for distinct n-grams; for more than some 100 million words train with KenLM's lmplz and give `model`."""
    model: str | None = None
    """A model made elsewhere instead: an ARPA file or a KenLM binary, such as those of CCNet."""
    sentencepiece: str | None = None
    """SentencePiece model that cuts texts into tokens; one that was given with `model` must be given here. Without,
    tokens are words, single marks, and single Han and kana characters."""
    normalise: bool = True
    """CCNet's normalisation before: lower case, no accents, digits as 0, plain punctuation marks."""
    order: int = Field(default=5, ge=2, le=6)
    """Longest n-gram of a model that is trained."""
    prune: list[int] = [0, 0, 1]
    """N-grams of 1, 2, 3, ... words that occur at most so often are left out of the model that is trained; the last
    number holds for longer ones too. The first must be 0."""
    sample: list[TextSource] = []
    """Texts like those to be scored, which set the buckets."""
    crawl: CrawlSample | None = None
    """Pages of a crawl which set the buckets, instead of `sample` or with it."""
    head_percentile: float = Field(default=30, gt=0, lt=100)
    """Percentile of the sample's perplexity below which a text belongs to the head (CCNet's)."""
    tail_percentile: float = Field(default=60, gt=0, lt=100)
    """Percentile above which it belongs to the tail (CCNet's)."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of sampling."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.texts) == (self.model is not None):
            raise ValueError("give either 'texts' to train on or a 'model' made elsewhere")
        if not self.sample and self.crawl is None:
            raise ValueError("nothing to measure the buckets on: give 'sample' or 'crawl'")
        if self.head_percentile > self.tail_percentile:
            raise ValueError("head_percentile must not be above tail_percentile")
        if not self.prune or self.prune[0] != 0 or sorted(self.prune) != self.prune:
            raise ValueError("prune takes a 0 and then numbers that do not fall")
        return self
