"""Sources in given shares: by weights, temperature, epochs, a budget, quality; and weights learned from proxy runs."""

from data_pipeline.mixture.config import MixtureConfig, QualityBucket, QualityConfig
from data_pipeline.mixture.plan import SourceShare, plan_mixture
from data_pipeline.mixture.sample import Mixed, mix
from data_pipeline.mixture.stage import MixConfig, mix_corpora

__all__ = [
    "MixConfig",
    "Mixed",
    "MixtureConfig",
    "QualityBucket",
    "QualityConfig",
    "SourceShare",
    "mix",
    "mix_corpora",
    "plan_mixture",
]
