"""Filtering of pages by their address."""

from data_pipeline.url.config import UrlConfig
from data_pipeline.url.step import UrlFilter

__all__ = ["UrlConfig", "UrlFilter"]
