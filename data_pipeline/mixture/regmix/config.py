"""Options of learning mixture weights from proxy runs."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from data_pipeline.mixture.config import NonNegative, Positive
from millbase.config import Config

ModelName = Literal["linear", "mixing_law", "gaussian_process", "gradient_boosting", "lightgbm"]


class DrawConfig(Config):
    """Mixtures drawn from Dirichlet distributions around a prior; strengths as in RegMix's code."""

    min_strength: float = Field(default=0.1, gt=0)
    """Smallest sum of a Dirichlet's parameters: mixtures of nearly one source."""
    max_strength: float = Field(default=5.0, gt=0)
    """Largest; strengths between the two are drawn evenly on a logarithmic scale."""
    min_weight: float = Field(default=0.002, ge=0, lt=1)
    """Weights below this become 0, and the others fill up the rest."""
    max_weights: dict[str, Positive] = {}
    """Largest weight of single sources, because there is no more of them."""

    @model_validator(mode="after")
    def _strengths(self) -> Self:
        if self.min_strength > self.max_strength:
            raise ValueError(f"min_strength {self.min_strength} is above max_strength {self.max_strength}")
        return self


class CandidatesConfig(Config):
    """Draws the mixtures of proxy runs, and writes a configuration and a command for each."""

    corpus: str | None = None
    """Corpus artifact to be mixed; its sources and their sizes are the prior."""
    sizes: dict[str, Positive] = {}
    """Sources and their sizes (any unit), in place of `corpus`."""
    column: str = "source"
    """The column of the corpus whose values are mixed."""
    runs: int = Field(default=64, ge=2)
    """Mixtures to draw, the natural one (by size) included as run 0. RegMix took 512 for 17 sources; a few times as
    many as sources is the least."""
    temperature: float = Field(default=2.0, ge=1.0)
    """The prior is size^(1/temperature): RegMix's 2 lets small sources be drawn more often."""
    draw: DrawConfig = DrawConfig()
    """How far mixtures lie from the prior."""
    run_bytes: float | None = Field(default=None, gt=0)
    """Bytes of text that a proxy run reads; goes into the configurations, and with `max_epochs` bounds the weights of
    scarce sources."""
    max_epochs: float = Field(default=4.0, gt=0)
    """How often a proxy run may read a source. Muennighoff et al. 2023 found little lost up to four epochs."""
    recipe: str | None = None
    """A recipe that begins with a stage of the kind `mix`; the commands then run it for each mixture."""
    mix_stage: str = "mix"
    """That stage's name."""
    seed: int = Field(default=0, ge=0)
    """Chooses the mixtures."""

    @model_validator(mode="after")
    def _one_prior(self) -> Self:
        if (self.corpus is None) == (not self.sizes):
            raise ValueError("give either corpus or sizes, to say which sources there are and how large")
        if self.run_bytes is not None and self.corpus is None:
            raise ValueError("run_bytes needs the corpus, whose sizes are bytes")
        return self


class MixFitConfig(Config):
    """Learns the weights of sources from the losses of proxy runs."""

    table: str
    """CSV or JSONL, a row for each run: `run`, `weight.SOURCE` for each source, `loss.DOMAIN` for each validation set;
    or in JSONL mappings `weights` and `losses`. The `candidates.csv` of `llmill corpus mix-candidates` has the first
    two."""
    losses: str | None = None
    """A second such file with `run` and the losses, where they are not in the table."""
    objective: dict[str, NonNegative] = {}
    """What is minimised: the mean of the domains' losses with these weights; none given, their plain mean."""
    models: list[ModelName] | None = Field(default=None, min_length=1)
    """Regressions to choose from, by rank correlation in cross-validation; null takes all that are installed."""
    folds: int = Field(default=5, ge=2)
    """Parts of the cross-validation."""
    repeats: int = Field(default=3, ge=1)
    """Cross-validations with other parts, averaged."""
    draw: DrawConfig = DrawConfig()
    """The mixtures whose loss is predicted."""
    prior: dict[str, Positive] = {}
    """What they are drawn around; none given, the mean of the runs' weights."""
    simulations: int = Field(default=20_000, ge=100)
    """Mixtures whose loss is predicted."""
    top: int = Field(default=100, ge=1)
    """The result is the mean of so many with the lowest prediction, as in RegMix."""
    bootstrap: int = Field(default=200, ge=0)
    """Fits to resampled runs, from which the intervals come."""
    level: float = Field(default=0.95, gt=0, lt=1)
    """Level of the intervals."""
    significance: float = Field(default=0.05, gt=0, lt=1)
    """A fit counts as better than chance when its rank correlation would be as high by chance with less probability
    than this, over all models tried."""
    seed: int = Field(default=0, ge=0)
    """Chooses parts, simulated mixtures and resampled runs."""

    @model_validator(mode="after")
    def _few_of_many(self) -> Self:
        if self.top > self.simulations:
            raise ValueError(f"top {self.top} is more than the {self.simulations} simulations")
        return self
