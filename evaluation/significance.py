"""Is a difference real? p-values of paired comparisons, corrected for how many are made, and what a set can detect.

- 0/1 items without clusters: McNemar's exact test (`statistics.mcnemar`); everything else: the t test of the paired
  mean (or ratio) over its standard error, clustered where the items are;
- a statistic of whole sets, such as corpus BLEU: the paired bootstrap (Koehn 2004, section 4, two-sided);
- several comparisons: Holm (1979, Scand. J. Statist. 6:65) bounds the chance of any false alarm, Benjamini & Hochberg
  (1995, JRSS B 57:289) the expected share of false alarms among the alarms;
- power: the smallest true difference that a two-sided test at 5% finds four times in five.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import numpy as np

from evaluation.statistics import CONFIDENCE, Estimate

Correction = Literal["holm", "benjamini-hochberg", "none"]
LEVEL = 1 - CONFIDENCE
POWER = 0.8


def t_test(estimate: Estimate, clusters: Sequence[Hashable] | None = None) -> float:
    """Two-sided p-value of an estimated difference against none; NaN for a single independent unit."""
    from scipy.special import stdtr

    degrees = (len(set(clusters)) if clusters is not None else estimate.n) - 1
    if degrees < 1:
        return math.nan
    if estimate.stderr == 0:
        return 1.0 if estimate.value == 0 else 0.0
    return float(2 * stdtr(degrees, -abs(estimate.value) / estimate.stderr))


def paired_bootstrap(
    ours: Sequence[Any],
    theirs: Sequence[Any],
    statistic: Callable[[list[Any]], float],
    seed: int,
    replicates: int = 1000,
) -> tuple[Estimate, float]:
    """Difference of a set-level statistic over the same resampled items, and its two-sided p-value.

    The p-value is twice the share of resamples on the other side of zero, with one added above and below (Davison &
    Hinkley 1997, section 4.2), so it is never 0.
    """
    assert len(ours) == len(theirs) and len(ours) > 0, f"{len(ours)} items against {len(theirs)}: pair them first"
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(ours), size=(replicates, len(ours)))
    values = np.array([statistic([ours[i] for i in row]) - statistic([theirs[i] for i in row]) for row in draws])
    low, high = np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2])
    value = statistic(list(ours)) - statistic(list(theirs))
    estimate = Estimate(
        float(value), float(values.std(ddof=1)), float(low), float(high), len(ours), "paired percentile bootstrap"
    )
    beyond = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return estimate, min(1.0, 2 * (beyond + 1) / (replicates + 1))


def adjust(p_values: Sequence[float], correction: Correction = "holm") -> list[float]:
    """p-values adjusted for their number, in their order: each may be held against the level by itself.

    NaN (a comparison that could not be tested) stays NaN and counts for nothing.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    adjusted = p.copy()
    if correction == "none" or not len(tested):
        return [float(value) for value in adjusted]
    order = tested[np.argsort(p[tested], kind="stable")]
    m = len(order)
    if correction == "holm":
        steps = np.maximum.accumulate(p[order] * (m - np.arange(m)))
    else:
        steps = np.minimum.accumulate((p[order] * m / np.arange(1, m + 1))[::-1])[::-1]
    adjusted[order] = np.minimum(1.0, steps)
    return [float(value) for value in adjusted]


def smallest_detectable(stderr: float) -> float:
    """The difference that a two-sided 5% test detects with 80% power, given the standard error of the difference.

    (z_0.975 + z_0.80) standard errors; NaN when the error is unknown.
    """
    from scipy.special import ndtri

    return float(ndtri(1 - LEVEL / 2) + ndtri(POWER)) * stderr
