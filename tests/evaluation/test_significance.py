"""p-values against scipy and worked examples; rates of false alarms, coverage and power in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from evaluation import significance, statistics
from evaluation.compare import compare_scores, conclusion
from evaluation.scores import Comparison, Item, make_score


def test_the_t_test_is_scipys() -> None:
    x = np.random.default_rng(0).normal(0.2, 1, size=40)
    assert significance.t_test(statistics.mean(x)) == pytest.approx(scipy.stats.ttest_1samp(x, 0).pvalue)
    assert significance.t_test(statistics.mean([0.0, 0.0])) == 1.0
    assert significance.t_test(statistics.mean([0.5, 0.5])) == 0.0
    assert math.isnan(significance.t_test(statistics.mean([0.5])))


def test_clusters_cost_degrees_of_freedom() -> None:
    x = np.random.default_rng(1).normal(0.4, 1, size=12)
    clusters = [i // 4 for i in range(12)]
    estimate = statistics.mean(x, clusters)
    expected = 2 * scipy.stats.t.sf(abs(estimate.value) / estimate.stderr, 2)
    assert significance.t_test(estimate, clusters) == pytest.approx(expected)


def test_holm_on_a_worked_example() -> None:
    """Holm's procedure on p = .01, .04, .03, .005 of four hypotheses (worked by hand)."""
    assert significance.adjust([0.01, 0.04, 0.03, 0.005], "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.adjust([0.6, 0.9], "holm") == [1.0, 1.0]


def test_benjamini_hochberg_is_scipys() -> None:
    p = np.random.default_rng(2).uniform(size=15) ** 3
    assert significance.adjust(list(p), "benjamini-hochberg") == pytest.approx(scipy.stats.false_discovery_control(p))


def test_what_cannot_be_tested_counts_for_nothing() -> None:
    adjusted = significance.adjust([0.01, math.nan, 0.03])
    assert adjusted[0] == pytest.approx(0.02) and math.isnan(adjusted[1]) and adjusted[2] == pytest.approx(0.03)
    assert significance.adjust([0.01, 0.02], "none") == [0.01, 0.02]
    assert significance.adjust([]) == []


def mean(rows: list[float]) -> float:
    return float(np.mean(rows))


def test_the_paired_bootstrap_agrees_with_the_t_test_on_a_mean() -> None:
    generator = np.random.default_rng(3)
    a = generator.normal(0.3, 1, size=150)
    b = a - 0.15 + generator.normal(0, 0.8, size=150)
    estimate, p = significance.paired_bootstrap(list(a), list(b), mean, seed=0, replicates=4000)
    exact = statistics.mean(a - b)
    assert estimate.value == pytest.approx(exact.value)
    assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high), abs=0.02)
    assert p == pytest.approx(significance.t_test(exact), abs=0.02)
    assert significance.paired_bootstrap(list(a), list(a), mean, seed=0, replicates=100)[1] == 1.0


def simulated(generator: np.random.Generator, ours: float, theirs: float, n: int) -> tuple[list[Item], list[Item]]:
    """Items of two checkpoints that share the items' difficulty, with these true accuracies."""
    difficulty, luck_a, luck_b = generator.normal(size=(3, n))
    scale = math.sqrt(2)
    a = (difficulty + luck_a) / scale < scipy.stats.norm.ppf(ours)
    b = (difficulty + luck_b) / scale < scipy.stats.norm.ppf(theirs)
    return _items(a), _items(b)


def _items(values: np.ndarray) -> list[Item]:
    return [{"id": i, "prompt_hash": "p", "scores": {"acc": float(value)}} for i, value in enumerate(values)]


def compared(pairs: list[tuple[list[Item], list[Item]]]) -> list[Comparison]:
    """The comparison of a run with one task per pair."""
    scores = [
        make_score(f"task{i}", "acc", statistics.mean([0.0, 1.0]), higher_is_better=True, items=f"{i}")
        for i in range(len(pairs))
    ]
    return compare_scores(
        scores, lambda s: pairs[int(str(s.items))][0], scores, lambda s: pairs[int(str(s.items))][1], "previous"
    )


RUNS = pytest.mark.parametrize("runs", [60, pytest.param(600, marks=pytest.mark.slow)])


@RUNS
def test_false_alarms_over_many_tasks_stay_at_the_level(runs: int) -> None:
    """Equal checkpoints, eight tasks: some alarm in at most 5% of runs; without correction, in more than 15%."""
    generator = np.random.default_rng(4)
    alarms = uncorrected = 0
    for _ in range(runs):
        comparisons = compared([simulated(generator, 0.6, 0.6, 100) for _ in range(8)])
        alarms += any(conclusion(item) != "cannot tell" for item in comparisons)
        uncorrected += any(item.details["p_value"] <= 0.05 for item in comparisons)
    allowed = scipy.stats.binom.ppf(0.999, runs, 0.05)
    assert alarms <= allowed
    assert uncorrected / runs > 0.15


@RUNS
def test_a_known_difference_is_found_and_named_and_covered(runs: int) -> None:
    generator = np.random.default_rng(5)
    verdicts, covered = [], 0
    for _ in range(runs):
        better, same, worse = compared(
            [simulated(generator, a, b, 400) for a, b in ((0.7, 0.5), (0.5, 0.5), (0.4, 0.6))]
        )
        verdicts.append((conclusion(better), conclusion(worse)))
        covered += better.ci95[0] <= 0.2 <= better.ci95[1]
        covered += same.ci95[0] <= 0.0 <= same.ci95[1]
    assert verdicts.count(("better", "worse")) >= 0.95 * runs
    # 0.95 of 600, within Monte-Carlo error
    low, high = scipy.stats.binom.ppf([0.0005, 0.9995], 2 * runs, 0.95)
    assert low <= covered <= high


def test_the_smallest_detectable_difference_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(6)
    stderr, n = 0.02, 900
    effect = significance.smallest_detectable(stderr)
    draws = generator.normal(effect, stderr * math.sqrt(n), size=(1500, n))
    found = np.mean([significance.t_test(statistics.mean(row)) < 0.05 for row in draws])
    assert found == pytest.approx(0.8, abs=0.035)


def test_lower_can_be_better() -> None:
    better = compared([simulated(np.random.default_rng(7), 0.9, 0.3, 200)])[0]
    assert conclusion(better) == "better"
    import dataclasses

    assert conclusion(dataclasses.replace(better, higher_is_better=False)) == "worse"
