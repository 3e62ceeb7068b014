"""Configuration of the quality classifier's training."""

from typing import Literal, Self

from pydantic import Field, model_validator

from data_pipeline.extract import ExtractConfig
from data_pipeline.texts import TextSource
from millbase.config import Config


class CrawlSample(Config):
    """Raw web pages as negative examples, sampled from WARC files."""

    path: str | list[str]
    """Path or glob of WARC files, or a list of them."""
    max_pages: int = Field(default=20_000, gt=0)
    """Pages to sample, evenly by a hash of the URL."""
    language: str | None = None
    """Only pages in this language (ISO 639-1 code, by fastText's lid.176); None takes all."""
    extract: ExtractConfig = ExtractConfig()
    """Text extraction; should be that of the corpus to be filtered, or the classifier learns the difference."""
    min_characters: int = Field(default=100, ge=0)
    """Skip pages whose extracted text is shorter."""


class FastTextConfig(Config):
    """fastText's supervised training."""

    dim: int = Field(default=16, gt=0)
    """Size of word vectors; 16 did better than 100 on small samples and is faster."""
    buckets: int = Field(default=200_000, ge=10_000)
    """Hash buckets for word n-grams; 200,000 x 16 floats make a 13 MB model."""
    word_ngrams: int = Field(default=2, gt=0)
    """Longest word n-gram used as a feature."""
    min_count: int = Field(default=3, gt=0)
    """Words seen less often are ignored, lest the model learn single documents by their names."""
    epochs: int = Field(default=5, gt=0)
    """Passes over the training examples; with few thousand examples, 2 remember less of single pages than 5."""
    learning_rate: float = Field(default=0.3, gt=0)
    """Initial learning rate; decays linearly to 0."""


class QualityModelConfig(Config):
    """A fastText classifier that tells reference prose from raw web pages, as DCLM does (Li et al. 2024, section 4.4).

    The negatives are raw pages, good ones among them, so a score is no probability of being good: a page like the
    positives scores 1 / (1 + g) where g is the share of its like among the negatives. Only the order of scores
    matters, and the threshold is set on held-out examples.
    """

    positives: list[TextSource] = Field(min_length=1)
    """Examples of good text."""
    negatives: list[TextSource] = []
    """Examples of unselected or bad text."""
    crawl: CrawlSample | None = None
    """Raw pages as further negatives."""
    max_positives: int = Field(default=100_000, gt=0)
    """Use at most so many positive pieces, chosen by a hash of the text."""
    negatives_per_positive: float = Field(default=1.0, gt=0)
    """At most so many negatives for each positive; balanced classes put the natural boundary near a score of 0.5."""
    max_characters: int = Field(default=2000, gt=0)
    """Only the first so many characters of a text are read, in training and in scoring."""
    pieces_per_document: int = Field(default=1, gt=0)
    """Cut long positives (books) into up to so many pieces of `max_characters`, evenly spread."""
    folds: int = Field(default=5, ge=1, le=20)
    """Classifiers to train, each without one part of the examples: a page is scored by the one that saw no page of its
    host (cross-fitting). A single classifier remembers the pages that served it as negatives and scores them, good or
    not, lower than their like; on a small crawl those are a large part. 1 trains a single one."""
    heldout_share: float = Field(default=0.2, gt=0, lt=1)
    """With one fold: share of examples, by a hash of host or text, kept from training to measure and to set the
    threshold. With more, every example is measured by the classifier that did not see it."""
    threshold_by: Literal["recall", "keep_share"] = "recall"
    """`recall`: the threshold keeps the target share of held-out positives. `keep_share`: it keeps the target share of
    the held-out pages of the crawl, or of the negatives where there is no crawl (DCLM keeps 0.1)."""
    threshold_target: float = Field(default=0.9, gt=0, lt=1)
    """The share that `threshold_by` names."""
    fasttext: FastTextConfig = FastTextConfig()
    """Training of the classifier."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of sampling, hold-out and training."""

    @model_validator(mode="after")
    def _some_negatives(self) -> Self:
        if not self.negatives and self.crawl is None:
            raise ValueError("no negative examples: give 'negatives' or 'crawl'")
        return self
