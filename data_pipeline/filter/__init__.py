"""Filtering of a finished corpus by its columns, without reading the crawl again."""

from data_pipeline.filter.corpus import FilterConfig, filter_corpus
from data_pipeline.filter.expression import Clause, parse

__all__ = ["Clause", "FilterConfig", "filter_corpus", "parse"]
