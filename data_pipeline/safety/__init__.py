"""Bad words and toxicity: scores for every document, and limits on them."""

from data_pipeline.safety.config import BadWordsConfig, ToxicityConfig
from data_pipeline.safety.step import BadWordsFilter, ToxicityFilter

__all__ = ["BadWordsConfig", "BadWordsFilter", "ToxicityConfig", "ToxicityFilter"]
