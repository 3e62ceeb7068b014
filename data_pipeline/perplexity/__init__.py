"""Perplexity under an n-gram model of good text, in three buckets, as in CCNet (Wenzek et al. 2020, section 3.4).

Training lies in `train`, which the workers of a build need not import.
"""

from data_pipeline.perplexity.config import PerplexityConfig
from data_pipeline.perplexity.step import PerplexityFilter

__all__ = ["PerplexityConfig", "PerplexityFilter"]
