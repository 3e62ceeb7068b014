"""How often each document is read, so that every source gives what the plan asks of it.

A source that is to be read 2.3 times has every document twice and three tenths of them (by bytes) a third time; one
that is to be read 0.3 times keeps three tenths. Which ones is decided by a hash of seed and id, so that it does not
depend on their order, and more of a source includes all that less of it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from data_pipeline.base import Drop
from data_pipeline.mixture.config import MixtureConfig, QualityConfig
from data_pipeline.mixture.plan import SourceShare, plan_mixture
from millbase.errors import InputError


@dataclass(frozen=True)
class Mixed:
    """The mixture of N documents."""

    copies: np.ndarray
    """int32 [N] how often training reads each document; 0 drops it."""
    shares: dict[str, SourceShare]
    """By source."""
    low_quality: np.ndarray
    """bool [N] documents that the quality buckets drop."""
    bounds: dict[str, float]
    """source -> the score from which on documents are read at all; only with quality buckets."""

    def drop(self, number: int, source: str, scores: np.ndarray | None) -> Drop:
        """Why document `number`, of `source`, is not read."""
        if self.low_quality[number] and scores is not None:
            return Drop("low_quality", round(float(scores[number]), 6), round(self.bounds[source], 6))
        share = self.shares[source]
        return Drop("over_weight", float(share.available), round(share.target or 0.0, 1))


def mix(
    ids: Sequence[str],
    sources: Sequence[str],
    sizes: np.ndarray,
    scores: np.ndarray | None,
    config: MixtureConfig,
    seed: int,
    names: Sequence[str] = (),
) -> Mixed:
    """Mix N documents: `sources` are the values of the mixed column, `sizes` int64 [N] bytes of text, `scores` float64
    [N] quality scores (NaN: none; null unless there are quality buckets). `names` are sources that may have no
    document.

    Raises ConfigError for unknown sources and InputError where a source has nothing to give or scores are missing.
    """
    members = np.array(sources, dtype=object)
    present = sorted({*names, *sources})
    groups = {name: np.flatnonzero(members == name) for name in present}
    repeats = np.ones(len(ids))
    bounds: dict[str, float] = {}
    if config.quality.buckets:
        if scores is None or np.isnan(scores).any():
            missing = len(ids) if scores is None else int(np.isnan(scores).sum())
            raise InputError(
                f"mixture.quality: {missing} of {len(ids)} documents have no {config.quality.column!r}; score them in "
                "the corpus build, or leave out the buckets"
            )
        for name, rows in groups.items():
            order = np.lexsort((np.array(ids, dtype=object)[rows].astype(str), scores[rows]))
            repeats[rows[order]] = bucket_repeats(sizes[rows[order]], config.quality)
            read = rows[repeats[rows] > 0]
            bounds[name] = float(scores[read].min()) if len(read) else float("inf")
    available = {name: int(sizes[rows].sum()) for name, rows in groups.items()}
    effective = {name: float((sizes[rows] * repeats[rows]).sum()) for name, rows in groups.items()}
    shares = plan_mixture(available, effective, config)
    copies = np.ones(len(ids), dtype=np.int32)
    for name, rows in groups.items():
        target = shares[name].target
        if target is None:
            continue
        for repeat in np.unique(repeats[rows]).tolist():
            part = rows[repeats[rows] == repeat]
            wanted = repeat * target / effective[name] if effective[name] else 0.0
            copies[part] = spread([ids[row] for row in part.tolist()], sizes[part], wanted, seed)
    return Mixed(copies, shares, repeats == 0, bounds)


def bucket_repeats(sizes: np.ndarray, config: QualityConfig) -> np.ndarray:
    """float64 [N]: the repeat of each document of one source, in ascending order of score; `sizes` are their bytes.

    A document lies where the middle of its bytes lies among all.
    """
    middle = (np.cumsum(sizes) - sizes / 2) / max(1, sizes.sum())
    above = np.array([bucket.above for bucket in config.buckets])
    repeats = np.array([0.0, *(bucket.repeat for bucket in config.buckets)])
    return np.asarray(repeats[np.searchsorted(above, middle, side="right")])


def spread(ids: Sequence[str], sizes: np.ndarray, times: float, seed: int) -> np.ndarray:
    """int32 [N]: how often each document is read when all are to be read `times` on average, weighted by bytes."""
    whole = int(times + 1e-9)
    copies = np.full(len(ids), whole, dtype=np.int32)
    wanted = (times - whole) * sizes.sum()
    if wanted <= 1e-9 * max(1, sizes.sum()):
        return copies
    keys = [xxhash.xxh3_128_intdigest(f"{seed}\0{name}".encode()) for name in ids]
    order = np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=np.int64)
    before = np.cumsum(sizes[order]) - sizes[order]
    copies[order] += before + sizes[order] / 2 <= wanted  # the last document goes to the nearer side
    return copies
