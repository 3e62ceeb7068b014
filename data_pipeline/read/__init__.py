"""From input files to documents that hold a raw page, or its text."""

from data_pipeline.read.charset import decode_html
from data_pipeline.read.config import ColumnsConfig, Format, ReadConfig
from data_pipeline.read.formats import InputFile, open_records
from data_pipeline.read.step import InputReader

WarcReader = InputReader
WarcSource = InputFile

__all__ = [
    "ColumnsConfig",
    "Format",
    "InputFile",
    "InputReader",
    "ReadConfig",
    "WarcReader",
    "WarcSource",
    "decode_html",
    "open_records",
]
