"""Pairing of items, and what gates let through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evaluation import statistics
from evaluation.compare import compare_scores
from evaluation.config import EvaluationConfig, GateConfig
from evaluation.gates import all_gates, apply_gates
from evaluation.scores import Comparison, Item, Score, make_comparison, make_score
from evaluation.statistics import Estimate
from millbase.config import load_config
from millbase.errors import ArtifactError, ConfigError


def items(values: list[Any], prompt: str = "p", metric: str = "exact_match") -> list[Item]:
    return [{"id": i, "prompt_hash": f"{prompt}{i}", "scores": {metric: value}} for i, value in enumerate(values)]


def score(version: str = "1", metric: str = "exact_match") -> Score:
    return make_score(
        "t", metric, statistics.mean([0.0, 1.0]), higher_is_better=True, items="items/t.jsonl", task_version=version
    )


def compared(ours: list[Item], theirs: list[Item], a: Score | None = None, b: Score | None = None) -> list[Comparison]:
    return compare_scores([a or score()], lambda _: ours, [b or score()], lambda _: theirs, "previous")


def test_the_paired_difference_of_common_items() -> None:
    ours, theirs = [1.0, 1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]
    (comparison,) = compared(items(ours), items(theirs)[::-1])
    expected = statistics.paired_difference(ours[:4], theirs)
    assert comparison.name == "t exact_match vs previous"
    assert (comparison.value, comparison.n) == (expected.value, 4)
    assert comparison.ci95 == (expected.low, expected.high)
    assert comparison.details["unpaired"] == 1
    assert comparison.details["mcnemar_p"] == 1.0


def test_ratios_pair_by_their_numerators() -> None:
    ours, theirs = [[100.0, 50.0], [220.0, 100.0], [50.0, 30.0]], [[110.0, 50.0], [250.0, 100.0], [66.0, 30.0]]
    a = score(metric="bits_per_byte")
    (comparison,) = compared(items(ours, metric="bits_per_byte"), items(theirs, metric="bits_per_byte"), a, a)
    assert comparison.value == pytest.approx((370 - 426) / 180)


def test_clusters_widen_the_comparison() -> None:
    ours, theirs = items([1.0, 1.0, 1.0, 0.0] * 6), items([0.0, 0.0, 1.0, 0.0] * 6)
    for both in (ours, theirs):
        for i, item in enumerate(both):
            item["cluster"] = i % 3
    (comparison,) = compared(ours, theirs)
    assert comparison.method == "clustered t"


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ArtifactError, match="version 1 here and 2"):
        compared(items([1.0]), items([1.0]), score("1"), score("2"))
    with pytest.raises(ArtifactError, match=r"no item in common.*chat template"):
        compared(items([1.0]), items([1.0], prompt="other"))
    assert compared([{"id": 0, "prompt_hash": "p0", "scores": {}}], items([1.0])) == []


def comparison(low: float, value: float, high: float, null: float = 0.0, higher: bool = True) -> Comparison:
    estimate = Estimate(value, 0.1, low, high, 100, "test")
    return make_comparison("t", "m", "previous", estimate, kind="paired_difference", null=null, higher_is_better=higher)


@pytest.mark.parametrize(
    ("subject", "gate", "passed"),
    [
        (comparison(0.1, 0.3, 0.5), {"minimum": 0.3}, True),
        (comparison(0.1, 0.29, 0.5), {"minimum": 0.3}, False),
        (comparison(-0.1, 0.3, 0.5), {"minimum": 0.3, "interval_excludes_null": True}, False),
        (comparison(0.1, 0.3, 0.5), {"minimum": 0.3, "interval_excludes_null": True}, True),
        (comparison(0.4, 0.5, 0.6, null=1, higher=False), {"maximum": 0.6, "interval_excludes_null": True}, True),
        (comparison(1.1, 1.2, 1.3, null=1, higher=False), {"interval_excludes_null": True}, False),  # surely worse
        (comparison(0.45, 0.61, 0.7, null=0.5), {"minimum": 0.6, "interval_excludes_null": True}, False),
        (comparison(-0.05, -0.02, 0.01), {"minimum": -0.03}, True),
    ],
)
def test_gates(subject: Comparison, gate: dict[str, Any], passed: bool) -> None:
    config = GateConfig.model_validate({"name": "g", "comparison": "t m vs previous", **gate})
    (result,) = apply_gates([config], [], [subject])
    assert result["passed"] is passed
    assert result["value"] == subject.value and result["ci95"] == list(subject.ci95)


def test_requirements_in_words() -> None:
    gate = GateConfig(name="g", comparison="t m vs previous", minimum=0.3, interval_excludes_null=True)
    (result,) = apply_gates([gate], [], [comparison(0.1, 0.3, 0.5)])
    assert result["requirement"] == ">= 0.3 and interval above 0"


def test_unknown_subjects_get_the_nearest() -> None:
    gate = GateConfig(name="g", score="t exact_mach", minimum=0.1)
    with pytest.raises(ConfigError, match="did you mean 't exact_match'"):
        apply_gates([gate], [score()], [])


def test_blocks_bring_their_gates() -> None:
    config = EvaluationConfig.model_validate(
        {
            "model": "m",
            "reference": "r",
            "bits_per_byte": {"tokens": "t", "maximum_ratio_to_unigram": 0.6},
            "kl": {"prompts": "p", "maximum_kl": 12},
        }
    )
    unigram, kl = all_gates(config)
    assert (unigram.comparison, unigram.maximum) == ("bits_per_byte vs unigram", 0.6)
    assert (kl.score, kl.maximum) == ("kl", 12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "m"}, "nothing to evaluate"),
        ({"model": "m", "kl": {"prompts": "p"}}, "give reference or previous"),
        ({"model": "m", "previous": "r", "win_rate": {"prompts": "p"}}, "exactly one judge"),
        ({"model": "m", "samples": {"prompts": "p"}, "gates": [{"name": "g", "score": "s"}]}, "require something"),
        ({"model": "m", "sample": {"prompts": "p"}}, "did you mean 'samples'"),
    ],
)
def test_settings_that_do_not_fit_together(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(EvaluationConfig, values)


def test_the_paired_bootstrap_stands_beside_the_delta_method() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(50, 500, size=120).astype(float)
    theirs = sizes * 2 + generator.normal(size=120) * 20
    ours = theirs - sizes * 0.05 + generator.normal(size=120) * 8
    a = score(metric="bits_per_byte")
    rows = [
        items([[float(x), float(n)] for x, n in zip(side, sizes, strict=True)], metric="bits_per_byte")
        for side in (ours, theirs)
    ]
    (comparison,) = compared(*rows, a, a)
    details = comparison.details
    low, high = comparison.ci95
    assert low is not None and high is not None
    # two ways to the same interval
    assert details["bootstrap_low"] == pytest.approx(low, abs=0.1 * (high - low))
    assert details["bootstrap_high"] == pytest.approx(high, abs=0.1 * (high - low))
    assert details["bootstrap_p"] < 0.01 and details["p_value"] < 0.01
    (same,) = compared(rows[0], rows[0], a, a)
    assert same.details["bootstrap_p"] == 1.0 and same.details["bootstrap_low"] == 0.0


def test_a_bootstrap_of_clusters_draws_clusters() -> None:
    y, x = [1.0, 1.0, -1.0, -1.0] * 10, [1.0] * 40
    alone = statistics.ratio_bootstrap(y, x, 0)
    clustered = statistics.ratio_bootstrap(y, x, 0, [i // 2 for i in range(40)])
    assert clustered[1] - clustered[0] == pytest.approx(2**0.5 * (alone[1] - alone[0]), rel=0.2)
    by_loop = np.random.default_rng(0).multinomial(40, [1 / 40] * 40, size=2000) @ np.array(y) / 40
    assert alone[:2] == pytest.approx(tuple(np.quantile(by_loop, [0.025, 0.975])))
