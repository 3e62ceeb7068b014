"""Sources in given shares: by weights, temperature, epochs, a budget, quality; and weights learned from proxy runs."""

from data_pipeline.mixture.config import MixtureConfig, QualityBucket, QualityConfig
from data_pipeline.mixture.plan import SourceShare, plan_mixture
from data_pipeline.mixture.sample import Mixed, mix

__all__ = ["Mixed", "MixtureConfig", "QualityBucket", "QualityConfig", "SourceShare", "mix", "plan_mixture"]
