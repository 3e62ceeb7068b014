"""From WARC files to documents that hold a raw page."""

from data_pipeline.read.charset import decode_html
from data_pipeline.read.config import ReadConfig
from data_pipeline.read.step import WarcReader, WarcSource

__all__ = ["ReadConfig", "WarcReader", "WarcSource", "decode_html"]
