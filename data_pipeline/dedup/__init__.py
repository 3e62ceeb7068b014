"""Removal of duplicates over the whole corpus: addresses, texts, near-duplicates, paragraphs, runs of words."""

from data_pipeline.dedup.config import DedupConfig
from data_pipeline.dedup.step import Fingerprint, fingerprint_fields

__all__ = ["DedupConfig", "Fingerprint", "fingerprint_fields"]
