"""From HTML to the main text of a page."""

from data_pipeline.extract.config import ExtractConfig
from data_pipeline.extract.main_text import PageText, extract_page, extract_text
from data_pipeline.extract.step import Extractor

__all__ = ["ExtractConfig", "Extractor", "PageText", "extract_page", "extract_text"]
