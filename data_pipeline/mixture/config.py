"""Options of the mixture: how much of each source training is to read."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from millbase.config import Config

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class QualityBucket(Config):
    """Documents from a quantile of quality upwards, until the next bucket begins."""

    above: float = Field(ge=0.0, lt=1.0)
    """Where the bucket begins: the share of its source's bytes that scores lower."""
    repeat: float = Field(ge=0.0)
    """How often a document of it is read, relative to one of another bucket; 0 drops the bucket."""


class QualityConfig(Config):
    """Better documents are read more often than others of their source (quality-aware upsampling, as in Olmo 3,
    2025)."""

    column: str = "quality.score"
    """Column with the score, higher is better; a dot reaches into a struct."""
    buckets: list[QualityBucket] = []
    """In ascending order of `above`; what lies below the first is dropped. None given: quality has no say."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        bounds = [bucket.above for bucket in self.buckets]
        if bounds != sorted(set(bounds)):
            raise ValueError(f"buckets must stand in ascending order of 'above', found {bounds}")
        if self.buckets and not any(bucket.repeat for bucket in self.buckets):
            raise ValueError("every bucket has repeat 0, so nothing would be left; give one of them more")
        return self


class MixtureConfig(Config):
    """Shares of the sources in what training reads, by weights, temperature or fixed numbers of epochs.

    A document that is to be read more than once gets its number in the column `copies`; the token shards hold it that
    often, its copies apart from each other.
    """

    column: str = "source"
    """The column whose values are mixed; `language` or another column of strings in place of `source`."""
    weights: dict[str, Positive] = {}
    """Share of what training reads, relative to the other weights. Sources that stand neither here nor in `epochs` are
    read once, outside the shares."""
    temperature: float | None = Field(default=None, ge=1.0)
    """In place of weights: weight n^(1/T) for a source of n bytes (Arivazhagan et al. 2019, section 4). 1 is
    proportional to size; the larger, the more equal."""
    epochs: dict[str, NonNegative] = {}
    """Sources read just so often, outside the shares: 2.5 reads each document twice and half of them a third time, 0.3
    keeps three tenths, 0 none."""
    max_epochs: float = Field(default=1.0, gt=0)
    """How often a source with a weight may be read at most, on average over its documents."""
    source_max_epochs: dict[str, Positive] = {}
    """The same for single sources."""
    total_bytes: float | None = Field(default=None, gt=0)
    """Bytes of text that training is to read, every source included. A source that is at its epochs before its share is
    full leaves the rest to the others. Null: as much as the scarcest source allows at the exact weights."""
    total_tokens: float | None = Field(default=None, gt=0)
    """The same in tokens of `bytes_per_token` bytes."""
    bytes_per_token: float = Field(default=4.0, gt=0)
    """UTF-8 bytes in a token, as `bytes_per_token` in the manifest of token shards tells."""
    quality: QualityConfig = QualityConfig()
    """Repetition of the better documents."""

    @property
    def enabled(self) -> bool:
        """True when anything is asked for."""
        return bool(self.weights or self.epochs or self.temperature or self.total or self.quality.buckets)

    @property
    def total(self) -> float | None:
        """Bytes that training is to read; null for no budget."""
        return self.total_bytes if self.total_tokens is None else self.total_tokens * self.bytes_per_token

    def epochs_cap(self, name: str) -> float:
        """How often a source may be read."""
        return self.source_max_epochs.get(name, self.max_epochs)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.weights and self.temperature is not None:
            raise ValueError("weights and temperature are two ways to say the same; give one of them")
        if self.total_bytes is not None and self.total_tokens is not None:
            raise ValueError("total_bytes and total_tokens are two ways to say the same; give one of them")
        both = sorted(set(self.weights) & set(self.epochs))
        if both:
            raise ValueError(f"{', '.join(both)}: a weight and a number of epochs; give one of them")
        return self
