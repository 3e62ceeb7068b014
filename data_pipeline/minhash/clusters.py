"""Groups of near-duplicates from signatures: banded locality-sensitive hashing by sorting, then connected components.

Each band of each document is a record of band, hash and row; sorted, the documents that share a band stand side by
side. Sorting needs tens of bytes a document where dictionaries of buckets need kilobytes, and it spills to disk. The
groups are a function of the set of signatures alone: reordering the rows only renumbers the labels. Bands know nothing
of one another, so several processes may each take some of them; the edges that they find are put together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_pipeline.base.pool import run_in_processes
from data_pipeline.base.sorting import Sorter, Space, gather, numbers, pack, release, scatter, starts_of_groups
from data_pipeline.minhash.components import components
from data_pipeline.minhash.config import MinHashConfig
from data_pipeline.minhash.signatures import EMPTY, estimated_jaccard

_NEIGHBOURS = 32
"""Within a bucket, each signature is compared with this many that follow it in sorted order. Buckets of more distinct
signatures (huge templates) are therefore compared in part, in an order that depends on the signatures alone."""
_COMPARE_ROWS = 1 << 12
_ROWS_PER_PROCESS = 250_000
"""Fewer documents are not worth another process: comparing them takes three seconds, starting it nearly one."""
_BASE = np.uint64(0x9E37_79B9_7F4A_7C15)
_BAND_RECORD = 2 + 8 + 8 + 8  # band, hash of its entries, hash of the signature, row


def cluster(signatures: np.ndarray, config: MinHashConfig, space: Space | None = None) -> np.ndarray:
    """int64 [N] labels of uint32 [N, permutations] signatures: one group, one label, which is its lowest row.

    Rows without words (all `EMPTY`) stay alone. Raises ValueError when the width is not `config.permutations`.
    """
    labels = np.arange(len(signatures), dtype=np.int64)
    groups = near_groups(signatures, config, space or Space(1 << 31))
    for records in groups.chunks():
        labels[numbers(records, 8)] = numbers(records, 0)
    groups.close()
    return labels


def near_groups(
    signatures: np.ndarray, config: MinHashConfig, space: Space, among: np.ndarray | None = None, workers: int = 1
) -> Sorter:
    """Records (label, row) of the rows that have near-duplicates; the label is the lowest row of the group.

    `signatures` is uint32 [N, permutations], perhaps a file mapped into memory; `among` bool [N] leaves rows out.
    `workers` processes, if the signatures lie in a file, share the memory; the records do not depend on their number.
    """
    if signatures.ndim != 2 or signatures.shape[1] != config.permutations:
        raise ValueError(f"signatures of shape {signatures.shape}, expected [N, {config.permutations}] (bands x rows)")
    edges = space.sorter(16, unique=True)
    distinct = space.array("distinct.bool", bool, (len(signatures),))
    keys = space.array("keys.u64", np.uint64, (len(signatures),))
    _join_equal(signatures, among, distinct, keys, edges, space)
    parts = min(workers, config.bands, len(signatures) // _ROWS_PER_PROCESS)
    arrays = (signatures, distinct, keys)
    if parts > 1 and space.folder is not None and all(isinstance(array, np.memmap) for array in arrays):
        _join_in_processes(arrays, edges, config, space, parts)
    else:
        _join_bands(*arrays, edges, config, space, range(config.bands))
    groups = components(edges, space)
    edges.close()
    return groups


def _join_in_processes(
    arrays: tuple[np.ndarray, ...], edges: Sorter, config: MinHashConfig, space: Space, parts: int
) -> None:
    """Every process takes each `parts`-th band and its part of the memory, and leaves a file of edges."""
    assert space.folder is not None, "processes hand their edges over in files"
    files = [(str(array.filename), array.dtype.str, array.shape) for array in arrays if isinstance(array, np.memmap)]
    tasks = [(files, config, space.memory // parts, space.folder, part, parts) for part in range(parts)]
    for array in arrays:
        release(array)
    for _ in run_in_processes(_join_part, tasks, parts, "near-duplicates"):
        pass
    for part in range(parts):
        edges.adopt(_edges_file(space.folder, part))


def _join_part(
    files: list[tuple[str, str, tuple[int, ...]]],
    config: MinHashConfig,
    memory: int,
    folder: Path,
    part: int,
    parts: int,
) -> None:
    signatures, distinct, keys = (np.memmap(name, dtype, "r", shape=shape) for name, dtype, shape in files)
    space = Space(memory, folder / f"bands-{part}")
    edges = space.sorter(16, unique=True)
    _join_bands(signatures, distinct, keys, edges, config, space, range(part, config.bands, parts))
    edges.write(_edges_file(folder, part))
    edges.close()


def _edges_file(folder: Path, part: int) -> Path:
    return folder / f"edges-{part}.run"


def _join_bands(
    signatures: np.ndarray,
    distinct: np.ndarray,
    keys: np.ndarray,
    edges: Sorter,
    config: MinHashConfig,
    space: Space,
    bands: range,
) -> None:
    """Add the edges between similar documents that share a bucket of one of `bands`."""
    records = _band_records(signatures, distinct, keys, config, space, bands)
    _join_similar(signatures, records, edges, config, space)
    records.close()


def _join_equal(
    signatures: np.ndarray,
    among: np.ndarray | None,
    distinct: np.ndarray,
    row_keys: np.ndarray,
    edges: Sorter,
    space: Space,
) -> None:
    """Join rows of equal signatures; `distinct` is set for one of each, `row_keys` to hashes of the signatures.

    Exact copies, the bulk of a crawl's duplicates, never enter a bucket twice.
    """
    keyed = space.sorter(16)
    step = space.rows(signatures.shape[1] * 8)
    for start in range(0, len(signatures), step):
        block = np.asarray(signatures[start : start + step])
        wanted = ~(block == EMPTY).all(axis=1)
        if among is not None:
            wanted &= among[start : start + step]
        rows = np.flatnonzero(wanted)
        row_keys[rows + start] = hashes = _row_keys(block[rows])
        keyed.add(pack(hashes.view(np.int64), rows + start))
        release(signatures)
        release(row_keys)
    last_key = last_row = np.empty(0, dtype=np.int64)
    for records in keyed.chunks():
        keys, rows = np.append(last_key, numbers(records, 0)), np.append(last_row, numbers(records, 8))
        first = starts_of_groups(keys)
        leaders = rows[first][np.cumsum(first) - 1]
        others = np.flatnonzero(~first)
        same = _compare(signatures, leaders[others], rows[others], lambda a, b: (a == b).all(axis=1))
        edges.add(pack(leaders[others[same]], rows[others[same]]))
        scatter(distinct, rows[first], True)
        scatter(distinct, rows[others[~same]], True)  # a collision of hashes joins nothing
        last_key, last_row = keys[-1:], leaders[-1:]
    keyed.close()


def _band_records(
    signatures: np.ndarray,
    distinct: np.ndarray,
    row_keys: np.ndarray,
    config: MinHashConfig,
    space: Space,
    bands: range,
) -> Sorter:
    sorter = space.sorter(_BAND_RECORD)
    step = space.rows(config.permutations * 8)
    for start in range(0, len(signatures), step):
        rows = np.flatnonzero(distinct[start : start + step])
        block = np.asarray(signatures[start : start + step])[rows]
        whole = np.asarray(row_keys[start : start + step])[rows].view(np.int64)
        for band in bands:
            keys = _row_keys(block[:, band * config.rows : (band + 1) * config.rows]).view(np.int64)
            number = np.empty((len(rows), 2), dtype=np.uint8)
            number[:] = divmod(band, 256)
            sorter.add(pack(number, keys, whole, rows + start))
        release(signatures)
        release(row_keys)
    return sorter


def _join_similar(signatures: np.ndarray, bands: Sorter, edges: Sorter, config: MinHashConfig, space: Space) -> None:
    """Compare the documents of each bucket and join the similar ones.

    Without verification, links between neighbours in a bucket are enough to join it; with it, all pairs count, but
    those that are joined already need no comparison.
    """
    reach = _NEIGHBOURS if config.min_similarity > 0 else 1
    before = np.empty((0, _BAND_RECORD), dtype=np.uint8)
    for records in bands.chunks():
        records = np.concatenate([before, records])
        before = records[-reach:]  # its neighbours may be in the next piece
        first = starts_of_groups(numbers(records, 0), numbers(records, 2))
        bucket, band = np.cumsum(first), records[:, 0].astype(np.int64) * 256 + records[:, 1]
        rows, node = np.unique(numbers(records, 18), return_inverse=True)
        labels = np.arange(len(rows))
        start = np.arange(len(records))
        for distance in range(1, reach + 1):
            # A bucket that has no pair at this distance has none further apart.
            start = start[start + distance < len(records)]
            start = start[bucket[start] == bucket[start + distance]]
            if len(start) == 0:
                break
            left, right = node[start], node[start + distance]
            apart = np.flatnonzero(labels[left] != labels[right])
            pairs = np.minimum(left, right)[apart] * len(rows) + np.maximum(left, right)[apart]
            apart = apart[np.unique(pairs, return_index=True)[1]]  # once, where bands agree
            left, right = left[apart], right[apart]
            similar = _similar(signatures, rows[left], rows[right], band[start[apart]], config)
            labels = _merge(labels, left[similar], right[similar])
        lowest = np.full(len(rows), len(rows))
        np.minimum.at(lowest, labels, np.arange(len(rows)))
        joined = np.flatnonzero(lowest[labels] != np.arange(len(rows)))
        edges.add(pack(rows[lowest[labels[joined]]], rows[joined]))


def _merge(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """int64 [M] labels after joining the groups of the nodes `left` and `right`."""
    if len(left) == 0:
        return labels
    from scipy.sparse import coo_array  # a quarter second to import, in every worker, and needed once at the end
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(left), dtype=bool), (labels[left], labels[right])), shape=(len(labels),) * 2)
    return np.asarray(connected_components(edges, directed=False)[1][labels], dtype=np.int64)


def _row_keys(rows: np.ndarray) -> np.ndarray:
    """uint64 [N] polynomial hashes of the rows of uint32 [N, K]; equal rows have equal keys."""
    keys = np.zeros(len(rows), dtype=np.uint64)
    for column in range(rows.shape[1]):
        keys *= _BASE
        keys += rows[:, column]
        keys ^= keys >> np.uint64(29)
    return keys


def _similar(
    signatures: np.ndarray, left: np.ndarray, right: np.ndarray, band: np.ndarray, config: MinHashConfig
) -> np.ndarray:
    """bool [pairs]: whether rows `left` and `right` agree in the band (so that a hash collision never joins two
    documents) and their estimated Jaccard similarity reaches the threshold."""
    columns = band[:, None] * config.rows + np.arange(config.rows)
    place = 0

    def test(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        nonlocal place
        part = columns[place : place + len(a)]
        place += len(a)
        agree = (np.take_along_axis(a, part, 1) == np.take_along_axis(b, part, 1)).all(axis=1)
        return np.asarray(agree & (estimated_jaccard(a, b) >= config.min_similarity))

    return _compare(signatures, left, right, test)


def _compare(
    signatures: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    test: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """bool [pairs] results of `test` on the rows `left` and `right`, called on bounded parts."""
    result = np.empty(len(left), dtype=bool)
    for start in range(0, len(left), _COMPARE_ROWS):
        part = slice(start, start + _COMPARE_ROWS)
        result[part] = test(gather(signatures, left[part]), gather(signatures, right[part]))
    return result
