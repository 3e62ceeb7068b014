"""Mixture weights: how much of each source is kept, and which of its documents.

With weights w and available bytes b, the corpus has size S = min over sources of (max_epochs b / w) with w summing to
1, so the scarcest source is used up and the others are sampled down to w S. With max_epochs > 1 a scarce source may
give less than its share; the statistics then say over how many epochs it has to be repeated in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash


@dataclass(frozen=True)
class SourceShare:
    """What the mixture asks of one source."""

    available: int
    """Bytes of text there are."""
    target: float | None
    """Bytes wanted; null for a source without weight."""
    epochs: float
    """How often training should see the source to reach its share."""


def mixture_targets(
    available: Mapping[str, int], weights: Mapping[str, float | None], max_epochs: float
) -> dict[str, SourceShare]:
    """The share of each source. Sources without weight are kept whole and stand outside the mixture."""
    total = sum(weight for weight in weights.values() if weight)
    scale = min(
        (max_epochs * available.get(name, 0) * total / weight for name, weight in weights.items() if weight),
        default=0.0,
    )
    shares = {}
    for name, weight in weights.items():
        bytes_available = available.get(name, 0)
        if weight is None:
            shares[name] = SourceShare(bytes_available, None, 1.0)
            continue
        target = scale * weight / total if total else 0.0
        epochs = max(1.0, target / bytes_available) if bytes_available else 0.0
        shares[name] = SourceShare(bytes_available, target, epochs)
    return shares


def sample_sources(
    ids: Sequence[str], sources: Sequence[str], sizes: np.ndarray, shares: Mapping[str, SourceShare], seed: int
) -> np.ndarray:
    """bool [N]: which documents are kept.

    Within a source, documents are taken in the order of a hash of (seed, id) until its target is reached, so which ones
    are kept does not depend on their order, and a larger target keeps all that a smaller one kept.
    """
    keep = np.ones(len(ids), dtype=bool)
    names = np.array(sources, dtype=object)
    for name, share in shares.items():
        rows = np.flatnonzero(names == name)
        if share.target is None or share.target >= sizes[rows].sum():
            continue
        keys = [xxhash.xxh3_128_intdigest(f"{seed}\0{ids[row]}".encode()) for row in rows.tolist()]
        order = rows[sorted(range(len(rows)), key=keys.__getitem__)]
        before = np.cumsum(sizes[order]) - sizes[order]
        keep[order] = before + sizes[order] / 2 <= share.target  # the last document goes to the nearer side
    return keep
