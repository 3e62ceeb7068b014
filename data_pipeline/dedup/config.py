"""Options of duplicate removal."""

from __future__ import annotations

from typing import Literal

from data_pipeline.minhash import MinHashConfig
from millbase.config import Config


class DedupConfig(Config):
    """Removes all but one of each group of equal or nearly equal documents, over all sources together."""

    exact: bool = True
    """Drop documents whose text equals another's, white space aside."""
    near: bool = True
    """Drop near-duplicates found by MinHash."""
    keep: Literal["longest", "best_quality", "first"] = "longest"
    """Which member of a group survives: the longest, the one with the best quality score, or the first in input order.
    Ties go to the better quality, the longer text, and at last the smaller id."""
    minhash: MinHashConfig = MinHashConfig()
    """How near-duplicates are found."""
