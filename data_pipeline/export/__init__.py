"""A finished corpus as Parquet or JSON Lines, for users of those formats.

from data_pipeline.export import ExportConfig, export_corpus

export_corpus(ExportConfig(corpus="runs/corpus", format="parquet"), "exported")
"""

from data_pipeline.export.config import ExportConfig
from data_pipeline.export.corpus import export_corpus

__all__ = ["ExportConfig", "export_corpus"]
