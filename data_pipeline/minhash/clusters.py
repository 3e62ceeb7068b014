"""Groups of near-duplicates from signatures: banded locality-sensitive hashing by sorting, then connected components.

Sorting one band's keys at a time needs tens of bytes a document where dictionaries of buckets need kilobytes. The
groups are a function of the set of signatures alone: reordering the rows only renumbers the labels.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_pipeline.minhash.config import MinHashConfig
from data_pipeline.minhash.signatures import EMPTY, estimated_jaccard

_NEIGHBOURS = 32
"""Within a bucket, each signature is compared with this many that follow it in sorted order. Buckets of more distinct
signatures (huge templates) are therefore compared in part, in an order that depends on the signatures alone."""
_COMPARE_ROWS = 1 << 14
_BASE = np.uint64(0x9E37_79B9_7F4A_7C15)


def cluster(signatures: np.ndarray, config: MinHashConfig) -> np.ndarray:
    """int64 [N] labels of uint64 [N, permutations] signatures: one group, one label, which is its lowest row.

    Rows without words (all `EMPTY`) stay alone. Raises ValueError when the width is not `config.permutations`.
    """
    if signatures.ndim != 2 or signatures.shape[1] != config.permutations:
        raise ValueError(f"signatures of shape {signatures.shape}, expected [N, {config.permutations}] (bands x rows)")
    if len(signatures) == 0:
        return np.empty(0, dtype=np.int64)
    # Equal signatures are one node: exact copies, the bulk of a crawl's duplicates, never enter a bucket twice.
    nodes, node_of_row = _distinct_rows(signatures)
    labels = _components(signatures, nodes, config)[node_of_row]
    empty = np.flatnonzero(signatures[:, 0] == EMPTY)
    labels[empty[(signatures[empty] == EMPTY).all(axis=1)]] = -1
    return _lowest_row(labels)


def _distinct_rows(signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [M] rows that stand for the distinct signatures, sorted by a hash of them; int64 [N] each row's node."""
    keys = _row_keys(signatures)
    order = np.argsort(keys, kind="stable")
    first = np.ones(len(order), dtype=bool)
    same_key = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    first[same_key + 1] = ~_rows_equal(signatures, order[same_key], order[same_key + 1])
    node_of_row = np.empty(len(order), dtype=np.int64)
    node_of_row[order] = np.cumsum(first) - 1
    return order[first], node_of_row


def _components(signatures: np.ndarray, nodes: np.ndarray, config: MinHashConfig) -> np.ndarray:
    """int64 [M] component of each node under the (verified) candidate pairs of all bands."""
    labels = np.arange(len(nodes))
    for band in range(config.bands):
        left, right = _candidates(signatures[nodes, band * config.rows : (band + 1) * config.rows], config)
        apart = labels[left] != labels[right]  # pairs that earlier bands have joined need no comparison
        left, right = left[apart], right[apart]
        if config.min_similarity > 0:
            similar = _similar(signatures, nodes[left], nodes[right], config.min_similarity)
            left, right = left[similar], right[similar]
        if len(left):
            shape = (len(nodes), len(nodes))
            edges = coo_array((np.ones(len(left), dtype=bool), (labels[left], labels[right])), shape=shape)
            labels = connected_components(edges, directed=False)[1][labels].astype(np.int64)
    return labels


def _candidates(band: np.ndarray, config: MinHashConfig) -> tuple[np.ndarray, np.ndarray]:
    """Two int64 [pairs] of nodes whose uint64 [M, rows] band entries are equal.

    Without verification, links between neighbours in a bucket are enough to join it; with it, all pairs count.
    """
    keys = _row_keys(band)
    order = np.argsort(keys, kind="stable")  # stable: each bucket stays in the nodes' own order
    keys = keys[order]
    left: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    right: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    start = np.arange(len(order))
    for distance in range(1, (_NEIGHBOURS if config.min_similarity > 0 else 1) + 1):
        # A bucket that has no pair at this distance has none further apart.
        start = start[start + distance < len(order)]
        start = start[keys[start] == keys[start + distance]]
        if len(start) == 0:
            break
        equal = start[_rows_equal(band, order[start], order[start + distance])]
        left.append(order[equal])
        right.append(order[equal + distance])
    return np.concatenate(left), np.concatenate(right)


def _row_keys(rows: np.ndarray) -> np.ndarray:
    """uint64 [N] polynomial hashes of the rows of uint64 [N, K]; equal rows have equal keys."""
    keys = np.zeros(len(rows), dtype=np.uint64)
    for column in range(rows.shape[1]):
        keys *= _BASE
        keys += rows[:, column]
        keys ^= keys >> np.uint64(29)
    return keys


def _rows_equal(rows: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """bool [pairs]: whether rows `left` and `right` are equal, so that a hash collision never joins two documents."""
    return _by_parts(left, right, lambda a, b: (rows[a] == rows[b]).all(axis=1))


def _similar(signatures: np.ndarray, left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
    """bool [pairs]: whether the estimated Jaccard similarity of rows `left` and `right` reaches the threshold."""
    return _by_parts(left, right, lambda a, b: estimated_jaccard(signatures[a], signatures[b]) >= threshold)


def _by_parts(left: np.ndarray, right: np.ndarray, test: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """bool [pairs] results of `test`, called on bounded parts so that gathered rows never take much memory."""
    result = np.empty(len(left), dtype=bool)
    for start in range(0, len(left), _COMPARE_ROWS):
        part = slice(start, start + _COMPARE_ROWS)
        result[part] = test(left[part], right[part])
    return result


def _lowest_row(labels: np.ndarray) -> np.ndarray:
    """Rename each label to the lowest row that has it; rows labelled -1 keep their own row number."""
    rows = np.arange(len(labels))
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.where(labels < 0, rows, first[inverse]).astype(np.int64)
