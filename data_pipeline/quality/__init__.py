"""A fastText quality classifier: reference prose against raw web pages."""

from data_pipeline.quality.config import CrawlSample, FastTextConfig, QualityModelConfig
from data_pipeline.quality.model import QualityModel
from data_pipeline.quality.train import train_quality

__all__ = ["CrawlSample", "FastTextConfig", "QualityModel", "QualityModelConfig", "train_quality"]
