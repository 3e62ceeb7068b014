"""Items that are nearly a whole document of the corpus, by MinHash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_pipeline.minhash import MinHashConfig, MinHasher, estimated_jaccard

_BATCH = 2048


def near_items(texts: Sequence[str], documents: Iterator[str], similarity: float) -> set[int]:
    """Indices of the texts that some document resembles: a shared band, and then the estimated Jaccard similarity."""
    config = MinHashConfig(shingle_words=5)
    hasher = MinHasher(config)
    ours = hasher.signatures(list(texts))
    keys = [_band(ours, config, band) for band in range(config.bands)]
    rows = [{int(key): np.flatnonzero(column == key) for key in np.unique(column)} for column in keys]
    found: set[int] = set()
    batch: list[str] = []
    for text in documents:
        batch.append(text)
        if len(batch) == _BATCH:
            found |= _match(hasher.signatures(batch), ours, keys, rows, config, similarity)
            batch = []
    return found | (_match(hasher.signatures(batch), ours, keys, rows, config, similarity) if batch else set())


def _match(
    theirs: np.ndarray,
    ours: np.ndarray,
    keys: list[np.ndarray],
    rows: list[dict[int, np.ndarray]],
    config: MinHashConfig,
    similarity: float,
) -> set[int]:
    found: set[int] = set()
    for band in range(config.bands):
        column = _band(theirs, config, band)
        for document in np.flatnonzero(np.isin(column, keys[band])):
            candidates = rows[band][int(column[document])]
            alike = estimated_jaccard(ours[candidates], np.broadcast_to(theirs[document], ours[candidates].shape))
            found |= set(candidates[alike >= similarity].tolist())
    return found


def _band(signatures: np.ndarray, config: MinHashConfig, band: int) -> np.ndarray:
    """uint64 [N]: one key for the rows of a band."""
    part = signatures[:, band * config.rows : (band + 1) * config.rows].astype(np.uint64)
    key = np.zeros(len(part), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in part.T:
            key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
    return key
