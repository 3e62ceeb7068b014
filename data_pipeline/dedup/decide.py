"""The global part of duplicate removal: which documents of the whole corpus are copies of which.

Both functions return int64 [N]: for each document the index of the one that is kept instead of it, its own index for
documents that stay. Results depend on the documents alone, not on their order, but for `keep = "first"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_pipeline.dedup.config import DedupConfig
from data_pipeline.minhash import cluster


@dataclass(frozen=True)
class Candidates:
    """What decides which member of a group survives; arrays of length N in input order."""

    ids: Sequence[str]
    characters: np.ndarray
    """int64 length of each text."""
    quality: np.ndarray
    """float64 quality scores, -1 where there is none."""

    def take(self, rows: np.ndarray) -> Candidates:
        """The candidates at `rows`."""
        return Candidates([self.ids[row] for row in rows], self.characters[rows], self.quality[rows])


def exact_duplicates(hashes: Sequence[bytes], candidates: Candidates, config: DedupConfig) -> np.ndarray:
    """Survivor of each document's group of equal hashes."""
    if not config.exact or not len(hashes):
        return np.arange(len(hashes))
    _, labels = np.unique(np.array(hashes, dtype="V16"), return_inverse=True)
    return survivors(labels, candidates, config)


def near_duplicates(signatures: np.ndarray, candidates: Candidates, config: DedupConfig) -> np.ndarray:
    """Survivor of each document's group of near-duplicates; `signatures` is uint32 [N, permutations]."""
    if not config.near or not len(signatures):
        return np.arange(len(signatures))
    return survivors(cluster(signatures, config.minhash), candidates, config)


def survivors(labels: np.ndarray, candidates: Candidates, config: DedupConfig) -> np.ndarray:
    """int64 [N] index of the document kept in each one's group; `labels` int [N] name the groups."""
    rank = ranking(candidates, config)
    order = np.lexsort((rank, labels))
    ordered = labels[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    keeper = np.empty(len(order), dtype=np.int64)
    keeper[order] = order[first][np.cumsum(first) - 1]
    return keeper


def ranking(candidates: Candidates, config: DedupConfig) -> np.ndarray:
    """int64 [N] position of each document in the order of preference."""
    count = len(candidates.ids)
    by_id = np.empty(count, dtype=np.int64)
    by_id[np.argsort(np.array(candidates.ids, dtype=object), kind="stable")] = np.arange(count)
    longest, best = -candidates.characters, -candidates.quality
    keys = {
        "longest": (by_id, best, longest),
        "best_quality": (by_id, longest, best),
        "first": (np.arange(count),),
    }[config.keep]
    rank = np.empty(count, dtype=np.int64)
    rank[np.lexsort(keys)] = np.arange(count)
    return rank
