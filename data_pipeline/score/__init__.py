"""Filtering of documents by the score of a trained quality classifier."""

from data_pipeline.score.step import QualityFilter, QualityFilterConfig, load_quality_model

__all__ = ["QualityFilter", "QualityFilterConfig", "load_quality_model"]
