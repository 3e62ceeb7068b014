"""Which documents of the whole corpus are copies of which: addresses, equal texts, near-duplicates, in this order.

Each step brings the documents that belong together side by side by sorting, best first, and drops all but the first.
The result depends on the documents alone, not on their order (but for `keep = "first"`), nor on the memory there is.
"""

from __future__ import annotations

import numpy as np

from data_pipeline.base.sorting import Sorter, Space, gather, numbers, pack, scatter, starts_of_groups
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.dedup.documents import EXACT, NEAR, URL, Documents
from data_pipeline.minhash import estimated_jaccard
from data_pipeline.minhash.clusters import near_groups

_COMPARE_ROWS = 1 << 12


def drop_equal(documents: Documents, kind: int, space: Space) -> None:
    """Drop all but the best of the documents of equal `hashes[kind]`, those dropped before aside."""
    assert kind in (URL, EXACT)
    sorter = space.sorter(32)
    hashes, step = documents.hashes[kind], space.rows(64)
    for start in range(0, len(hashes), step):
        rows = np.flatnonzero(documents.step[start : start + step] == 0) + start
        sorter.add(pack(np.asarray(hashes[rows]), documents.rank[rows], rows))
        documents.release()
    _keep_first(documents, kind, sorter)
    sorter.close()


def drop_near(documents: Documents, config: DedupConfig, space: Space, workers: int = 1) -> None:
    """Drop all but the best of each group of near-duplicates, those dropped before aside; `workers` processes."""
    assert documents.signatures is not None, "made with config.near"
    alive = space.array("alive.bool", bool, documents.step.shape)
    np.equal(documents.step, 0, out=alive)
    groups = near_groups(documents.signatures, config.minhash, space, alive, workers)
    sorter = space.sorter(24)
    for records in groups.chunks():
        label, rows = numbers(records, 0), numbers(records, 8)
        sorter.add(pack(label, gather(documents.rank, rows), rows))
    groups.close()
    _keep_first(documents, NEAR, sorter)
    sorter.close()
    _estimate(documents)


def _keep_first(documents: Documents, kind: int, sorter: Sorter) -> None:
    """Of records (key, rank, row), drop all but the first of each key. Indexed documents always stay."""
    width = sorter.width - 16
    last_key, last_keeper = np.empty((0, width), dtype=np.uint8), np.empty(0, dtype=np.int64)
    for records in sorter.chunks():
        keys = np.concatenate([last_key, records[:, :width]])
        rows = np.concatenate([last_keeper, numbers(records, width + 8)])
        first = starts_of_groups(*(numbers(keys, offset) for offset in range(0, width, 8)))
        keepers = rows[first][np.cumsum(first) - 1]
        gone = np.flatnonzero(~first & (rows < documents.count))
        scatter(documents.step, rows[gone], kind)
        scatter(documents.keeper, rows[gone], keepers[gone])
        last_key, last_keeper = keys[-1:], keepers[-1:]
        documents.release()


def _estimate(documents: Documents) -> None:
    """Set the similarity of near-duplicates with the document kept instead."""
    signatures = documents.signatures
    assert signatures is not None
    for start in range(0, documents.count, 1 << 20):
        dropped = np.flatnonzero(documents.step[start : min(start + (1 << 20), documents.count)] == NEAR) + start
        for part in np.array_split(dropped, len(dropped) // _COMPARE_ROWS + 1):
            other = documents.keeper[part]
            documents.similarity[part] = estimated_jaccard(gather(signatures, part), gather(signatures, other))
    documents.release()
