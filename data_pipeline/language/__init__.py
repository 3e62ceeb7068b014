"""Which language a document is written in."""

from data_pipeline.language.config import LanguageConfig
from data_pipeline.language.identification import find_model, identify
from data_pipeline.language.step import LanguageFilter

__all__ = ["LanguageConfig", "LanguageFilter", "find_model", "identify"]
