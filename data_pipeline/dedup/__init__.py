"""Removal of copies: exact ones by hash, near ones by MinHash, over all documents of the corpus."""

from data_pipeline.dedup.config import DedupConfig
from data_pipeline.dedup.decide import exact_duplicates, near_duplicates
from data_pipeline.dedup.step import Fingerprint

__all__ = ["DedupConfig", "Fingerprint", "exact_duplicates", "near_duplicates"]
