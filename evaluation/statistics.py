"""Estimates with a standard error and a 95% interval: means, shares, ratios, paired differences.

Every function takes one number (or pair of numbers) per evaluation item and returns an `Estimate`. Nothing here
draws random numbers except `bootstrap`, which takes its seed. What is used where:

- a mean of independent items: Student's t interval; of 0/1 items: Wilson's score interval (Wilson 1927), which keeps
  its coverage near 0 and 1 and for few items;
- items that come in clusters (several questions about one passage): the clustered standard error of Miller 2024,
  "Adding Error Bars to Evals", equation 4;
- the difference of two models on the same items: the mean of the per-item differences (Miller 2024, section 4.2); for
  0/1 items Newcombe's paired score interval (Newcombe 1998, Statistics in Medicine 17:2635, method 10) and McNemar's
  exact test;
- sum over sum, such as bits per byte: the ratio estimator with its linearised variance (Cochran 1977, Sampling
  Techniques, section 2.11, without finite-population correction).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
Z95 = 1.959963984540054
"""Normal quantile of 0.975."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty."""

    value: float
    stderr: float
    """Standard error; NaN when a single item leaves it unknown."""
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end of the 95% interval."""
    n: int
    """Items (not clusters)."""
    method: str
    """How the interval was made."""

    def __post_init__(self) -> None:
        assert self.n > 0, "an estimate needs at least one item"

    def scaled(self, factor: float) -> Estimate:
        """The estimate of `factor` times the quantity; `factor` must be positive."""
        assert factor > 0, f"factor {factor}: expected a positive one"
        return Estimate(
            self.value * factor, self.stderr * factor, self.low * factor, self.high * factor, self.n, self.method
        )


def t_quantile(degrees_of_freedom: int) -> float:
    """0.975 quantile of Student's t."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import, scipy.special does not

    return float(stdtrit(degrees_of_freedom, 0.5 + CONFIDENCE / 2))


def mean(values: ArrayLike, clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Mean of one number per item, with Student's t interval, widened for items of one cluster (a key per item)."""
    x = _column(values)
    value = float(x.mean())
    stderr, degrees = _stderr_of_sum(x - value, clusters)
    return _t_interval(value, stderr / len(x), degrees, len(x), "t" if clusters is None else "clustered t")


def share(outcomes: ArrayLike, clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Share of successes with Wilson's score interval; `stderr` is the binomial one (n - 1 in the denominator).

    Outcomes lie in [0, 1]. Values between (a tie counted as one half) make the interval conservative, because their
    variance is below that of 0/1 outcomes with the same mean. With `clusters` the interval is the clustered t.
    """
    x = _column(outcomes)
    assert ((x >= 0) & (x <= 1)).all(), "outcomes of a share lie between 0 and 1"
    if clusters is not None:
        return mean(x, clusters)
    value = float(x.mean())
    low, high = wilson(value, len(x))
    stderr, _ = _stderr_of_sum(x - value, None)
    return Estimate(value, stderr / len(x), low, high, len(x), "Wilson")


def wilson(p: float, n: int) -> tuple[float, float]:
    """Wilson's 95% score interval for a share `p` of `n` trials (Wilson 1927, JASA 22:209)."""
    assert n > 0 and 0 <= p <= 1, f"wilson(p={p}, n={n}): expected a share of at least one trial"
    z2 = Z95 * Z95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # at p = 0 and p = 1 the formula gives 0 and 1 up to rounding
    return (0.0 if p == 0 else max(0.0, centre - half)), (1.0 if p == 1 else min(1.0, centre + half))


def ratio(numerators: ArrayLike, denominators: ArrayLike, clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Sum of numerators over sum of denominators, one pair per item, with the linearised variance.

    With residuals e_i = y_i - R x_i, var(R) = n / (n - 1) * sum(e_i^2) / (sum x_i)^2 (Cochran 1977, section 2.11).
    """
    y, x = _column(numerators), _column(denominators)
    assert len(x) == len(y), f"{len(y)} numerators for {len(x)} denominators"
    total = float(x.sum())
    assert total > 0, "the denominators of a ratio must have a positive sum"
    value = float(y.sum()) / total
    stderr, degrees = _stderr_of_sum(y - value * x, clusters)
    return _t_interval(value, stderr / total, degrees, len(x), "ratio, delta method")


def paired_difference(ours: ArrayLike, theirs: ArrayLike, clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Mean of `ours - theirs` over common items; 0/1 items get Newcombe's interval, others Student's t."""
    a, b = _column(ours), _column(theirs)
    assert len(a) == len(b), f"{len(a)} items against {len(b)}: pair them first"
    if clusters is None and _binary(a) and _binary(b):
        return _newcombe(a, b)
    return mean(a - b, clusters)


def _newcombe(a: Floats, b: Floats) -> Estimate:
    """Difference of paired shares with Newcombe's square-and-add interval (1998, method 10).

    Unlike the t interval it has a positive width when the two models never differ.
    """
    n = len(a)
    both, only_a = float((a * b).sum()), float((a * (1 - b)).sum())
    only_b = float(((1 - a) * b).sum())
    neither = n - both - only_a - only_b
    p1, p2 = (both + only_a) / n, (both + only_b) / n
    (l1, u1), (l2, u2) = wilson(p1, n), wilson(p2, n)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    cross = both * neither - only_a * only_b
    if cross > 0:
        cross = max(cross - n / 2, 0.0)  # continuity correction on phi, which is what makes it method 10
    phi = cross / math.sqrt(margins) if margins > 0 else 0.0
    difference = p1 - p2
    down = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    up = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    stderr, _ = _stderr_of_sum((a - b) - difference, None)
    low, high = difference - math.sqrt(max(down, 0.0)), difference + math.sqrt(max(up, 0.0))
    return Estimate(difference, stderr / n, low, high, n, "paired score (Newcombe)")


def independent_shares(a: ArrayLike, b: ArrayLike) -> Estimate:
    """Difference of two shares over different items, with Newcombe's square-and-add interval.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", Statistics in Medicine
    17:873, method 10: Wilson's limits of each, squared and added. `n` counts the items of both.
    """
    x, y = share(a), share(b)
    value = x.value - y.value
    low = value - math.sqrt((x.value - x.low) ** 2 + (y.high - y.value) ** 2)
    high = value + math.sqrt((x.high - x.value) ** 2 + (y.value - y.low) ** 2)
    return Estimate(value, math.hypot(x.stderr, y.stderr), low, high, x.n + y.n, "independent shares (Newcombe)")


def ratio_bootstrap(
    numerators: ArrayLike,
    denominators: ArrayLike,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    replicates: int = 2000,
) -> tuple[float, float, float]:
    """95% percentile interval of a sum over a sum by resampling items (or clusters), and the p-value against zero.

    With differences of two models as numerators it is the paired bootstrap (Koehn 2004, section 4, two-sided): both are
    seen on the same resampled documents. The p-value is twice the share of resamples beyond zero, one added above and
    below, so it is never 0. Returns `(low, high, p)`.
    """
    y, x = _column(numerators), _column(denominators)
    assert len(x) == len(y), f"{len(y)} numerators for {len(x)} denominators"
    if clusters is not None:
        index = {key: position for position, key in enumerate(dict.fromkeys(clusters))}
        places = [index[key] for key in clusters]
        y = np.bincount(places, weights=y, minlength=len(index)).astype(np.float64)
        x = np.bincount(places, weights=x, minlength=len(index)).astype(np.float64)
    generator = np.random.default_rng(seed)
    # how often each item is drawn decides a resample
    counts = generator.multinomial(len(y), np.full(len(y), 1 / len(y)), size=replicates)
    values = (counts @ y) / (counts @ x)
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    beyond = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return float(low), float(high), min(1.0, 2 * (beyond + 1) / (replicates + 1))


def mcnemar(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Two-sided p-value of McNemar's exact test on paired 0/1 outcomes: a sign test on the items that differ."""
    from scipy.special import bdtr

    a, b = _column(ours), _column(theirs)
    assert _binary(a) and _binary(b), "McNemar's test takes 0/1 outcomes"
    wins, losses = int((a > b).sum()), int((a < b).sum())
    if wins + losses == 0:
        return 1.0
    return float(min(1.0, 2 * bdtr(min(wins, losses), wins + losses, 0.5)))


def bootstrap(
    items: Sequence[Any], statistic: Callable[[list[Any]], float], seed: int, replicates: int = 1000
) -> Estimate:
    """Any statistic of a list of items, with the percentile bootstrap (Efron & Tibshirani 1993, chapter 13).

    `stderr` is the standard deviation of the replicates, which already is the standard error: it must not be divided
    by the square root of their number.
    """
    generator = np.random.default_rng(seed)
    n = len(items)
    draws = generator.integers(0, n, size=(replicates, n))
    values = np.array([statistic([items[i] for i in row]) for row in draws], dtype=np.float64)
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(
        float(statistic(list(items))), float(values.std(ddof=1)), float(low), float(high), n, "percentile bootstrap"
    )


def _stderr_of_sum(residuals: Floats, clusters: Sequence[Hashable] | None) -> tuple[float, int]:
    """Standard error of a sum of centred residuals, and its degrees of freedom (independent units - 1).

    Clustered residuals are summed within each cluster first, which is equation 4 of Miller 2024 up to the factor
    G / (G - 1) for G clusters, kept here because it removes most of the bias for few clusters.
    """
    if clusters is not None:
        assert len(clusters) == len(residuals), f"{len(clusters)} cluster keys for {len(residuals)} items"
        index = {key: position for position, key in enumerate(dict.fromkeys(clusters))}
        positions = [index[key] for key in clusters]
        residuals = np.bincount(positions, weights=residuals, minlength=len(index)).astype(np.float64)
    n = len(residuals)
    if n < 2:
        return math.nan, 0
    return math.sqrt(n / (n - 1) * float((residuals**2).sum())), n - 1


def _t_interval(value: float, stderr: float, degrees: int, n: int, method: str) -> Estimate:
    if degrees < 1:  # one item says nothing about its spread
        return Estimate(value, math.nan, -math.inf, math.inf, n, method)
    half = t_quantile(degrees) * stderr
    return Estimate(value, stderr, value - half, value + half, n, method)


def _column(values: ArrayLike) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    assert column.ndim == 1 and len(column), f"expected a non-empty list of numbers, found shape {column.shape}"
    return column


def _binary(x: Floats) -> bool:
    return bool(((x == 0) | (x == 1)).all())
