"""Intervals against scipy, against worked examples from the papers, and against their promised coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from evaluation import statistics


def test_mean_is_scipys_t_interval() -> None:
    x = np.random.default_rng(0).normal(3, 2, size=17)
    estimate = statistics.mean(x)
    expected = scipy.stats.t.interval(0.95, df=16, loc=x.mean(), scale=scipy.stats.sem(x))
    assert (estimate.low, estimate.high) == pytest.approx(expected)
    assert estimate.stderr == pytest.approx(scipy.stats.sem(x))


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 3), (81, 263), (497, 500), (0, 1)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    expected = scipy.stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert statistics.wilson(successes / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_newcombes_example() -> None:
    # Newcombe 1998a, Statistics in Medicine 17:857, table I: 81 of 263
    assert statistics.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def paired(both: int, ours: int, theirs: int, neither: int) -> tuple[list[int], list[int]]:
    """Outcomes from the four cells: right by both, by ours only, by theirs only, by neither."""
    a = [1] * (both + ours) + [0] * (theirs + neither)
    return a, [1] * both + [0] * ours + [1] * theirs + [0] * neither


def test_paired_difference_of_newcombes_example() -> None:
    # Newcombe 1998b, Statistics in Medicine 17:2635, table II, method 10
    estimate = statistics.paired_difference(*paired(36, 12, 2, 0))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)


def test_paired_difference_without_correlation_is_square_and_add() -> None:
    # no item is right by both or by theirs only, so phi is 0 and the two Wilson intervals combine like independent ones
    estimate = statistics.paired_difference(*paired(0, 1, 0, 29))
    one, none = scipy.stats.binomtest(1, 30), scipy.stats.binomtest(0, 30)
    first, second = one.proportion_ci(method="wilson"), none.proportion_ci(method="wilson")
    assert estimate.low == pytest.approx(1 / 30 - math.hypot(1 / 30 - first.low, second.high))
    assert estimate.high == pytest.approx(1 / 30 + math.hypot(first.high - 1 / 30, second.low))


def test_equal_models_get_an_interval_of_positive_width() -> None:
    estimate = statistics.paired_difference([1] * 50, [1] * 50)
    assert estimate.value == 0
    assert estimate.low < 0 < estimate.high


def test_paired_difference_of_numbers_is_the_paired_t_test() -> None:
    generator = np.random.default_rng(1)
    a = generator.normal(size=40)
    b = a + generator.normal(0.1, 0.2, size=40)
    expected = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
    estimate = statistics.paired_difference(a, b)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (3, 9), (40, 61)])
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(wins: int, losses: int) -> None:
    a = [1] * wins + [0] * losses + [1, 0]
    b = [0] * wins + [1] * losses + [1, 0]
    expected = scipy.stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert statistics.mcnemar(a, b) == pytest.approx(expected)


def test_ratio_agrees_with_the_bootstrap() -> None:
    generator = np.random.default_rng(2)
    sizes = generator.integers(50, 500, size=300).astype(float)
    bits = sizes * generator.normal(2.0, 0.3, size=300)
    delta = statistics.ratio(bits, sizes)
    items = list(zip(bits, sizes, strict=True))
    resampled = statistics.bootstrap(items, lambda rows: sum(r[0] for r in rows) / sum(r[1] for r in rows), seed=3)
    assert delta.value == pytest.approx(resampled.value)
    assert delta.stderr == pytest.approx(resampled.stderr, rel=0.1)
    assert delta.low == pytest.approx(resampled.low, abs=0.3 * delta.stderr)


def test_bootstrap_standard_error_is_not_divided_by_the_replicates() -> None:
    x = list(np.random.default_rng(4).normal(size=200))
    estimate = statistics.bootstrap(x, lambda rows: float(np.mean(rows)), seed=0, replicates=2000)
    assert estimate.stderr == pytest.approx(scipy.stats.sem(x), rel=0.1)
    assert estimate == statistics.bootstrap(x, lambda rows: float(np.mean(rows)), seed=0, replicates=2000)


def test_clustered_error_follows_millers_equation() -> None:
    generator = np.random.default_rng(5)
    clusters = [str(c) for c in generator.integers(0, 12, size=90)]
    x = generator.normal(size=90)
    residuals = x - x.mean()
    double_sum = sum(
        residuals[i] * residuals[j] for i in range(90) for j in range(90) if clusters[i] == clusters[j]
    )  # equation 4: the variance of each item (i = j) plus the covariances within clusters
    groups = len(set(clusters))
    expected = math.sqrt(double_sum) / 90 * math.sqrt(groups / (groups - 1))
    assert statistics.mean(x, clusters).stderr == pytest.approx(expected)


def test_singleton_clusters_change_nothing() -> None:
    x = np.random.default_rng(6).normal(size=25)
    clustered, plain = statistics.mean(x, list(range(25))), statistics.mean(x)
    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high))


def test_repeating_every_item_does_not_shrink_a_clustered_interval() -> None:
    x = np.random.default_rng(7).normal(size=30)
    copies = np.repeat(x, 10)
    assert statistics.mean(copies, list(np.repeat(np.arange(30), 10))).stderr == pytest.approx(
        statistics.mean(x).stderr
    )
    assert statistics.mean(copies).stderr < 0.4 * statistics.mean(x).stderr


def coverage(truth: float, estimates: list[statistics.Estimate]) -> float:
    return float(np.mean([estimate.low <= truth <= estimate.high for estimate in estimates]))


def test_intervals_cover_the_truth_as_often_as_they_promise() -> None:
    generator = np.random.default_rng(8)
    shares = [statistics.share(generator.random(60) < 0.93) for _ in range(1500)]
    assert coverage(0.93, shares) == pytest.approx(0.95, abs=0.025)
    difficulty, luck_a, luck_b = generator.random((3, 1500, 80))
    ours, theirs = difficulty + luck_a < 1.35, difficulty + luck_b < 1.2  # correlated through the item's difficulty
    truth = ours.mean() - theirs.mean()
    differences = [statistics.paired_difference(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert coverage(truth, differences) == pytest.approx(0.95, abs=0.025)
    sizes = generator.uniform(20, 200, size=(1500, 50))
    ratios = [statistics.ratio(row * generator.gamma(4, 0.5, size=50), row) for row in sizes]
    assert coverage(2.0, ratios) == pytest.approx(0.95, abs=0.03)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.data())
def test_paired_interval_contains_its_estimate_and_mirrors(outcomes: list[bool], data: st.DataObject) -> None:
    n = len(outcomes)
    other = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    forward = statistics.paired_difference(outcomes, other)
    backward = statistics.paired_difference(other, outcomes)
    assert -1 <= forward.low <= forward.value + 1e-12 and forward.value <= forward.high + 1e-12 <= 1 + 1e-9
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))


def test_one_item_says_nothing_about_spread() -> None:
    estimate = statistics.mean([2.0])
    assert math.isnan(estimate.stderr) and estimate.low == -math.inf
