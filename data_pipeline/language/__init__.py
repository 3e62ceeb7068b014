"""Which language a document is written in."""

from data_pipeline.language.config import LanguageConfig
from data_pipeline.language.step import LanguageFilter, find_model

__all__ = ["LanguageConfig", "LanguageFilter", "find_model"]
