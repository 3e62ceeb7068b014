"""From input files to documents that hold a raw page, or its text."""

from data_pipeline.read.charset import decode_html
from data_pipeline.read.config import ColumnsConfig, Format, ReadConfig
from data_pipeline.read.formats import InputFile, open_records
from data_pipeline.read.step import InputReader

__all__ = [
    "ColumnsConfig",
    "Format",
    "InputFile",
    "InputReader",
    "ReadConfig",
    "decode_html",
    "open_records",
]
