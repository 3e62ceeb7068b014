"""The alignment tax and forgetting from comparisons by hand, and through a whole evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evaluation import EvaluationConfig, evaluate, statistics
from evaluation.alignment_tax import capabilities, run_alignment_tax
from evaluation.behaviour_config import AlignmentTaxConfig
from evaluation.compare import compare_scores
from evaluation.gates import all_gates
from evaluation.scores import Comparison, Item, Score, make_score
from millbase.errors import ArtifactError, ConfigError


def column(task: str, metric: str, values: list[Any], up: bool = True) -> tuple[Score, list[Item]]:
    rows: list[Item] = [
        {"id": i, "prompt_hash": f"{task}{i}", "scores": {metric: value}} for i, value in enumerate(values)
    ]
    return make_score(task, metric, statistics.mean([0.0, 1.0]), higher_is_better=up, items=f"{task}.jsonl"), rows


def compared(now: list[tuple[Score, list[Item]]], then: list[tuple[Score, list[Item]]]) -> list[Comparison]:
    ours, theirs = ({score.name: rows for score, rows in side} for side in (now, then))
    return compare_scores(
        [score for score, _ in now],
        lambda score: ours[score.name],
        [score for score, _ in then],
        lambda score: theirs[score.name],
        "before",
    )


def test_the_mean_change_by_hand() -> None:
    a_now, a_then = [1, 0, 0, 1, 1, 0, 0, 1], [1, 1, 0, 1, 1, 1, 0, 1]
    loss_now, loss_then = [2.0, 2.5, 1.5, 3.0], [1.0, 2.0, 1.0, 1.5]
    found = compared(
        [column("a", "acc", a_now), column("b", "loss", loss_now, up=False)],
        [column("a", "acc", a_then), column("b", "loss", loss_then, up=False)],
    )
    (tax,) = run_alignment_tax(["a acc", "b loss", "c acc"], [], found)
    first = statistics.paired_difference(a_now, a_then)
    second = statistics.paired_difference(loss_now, loss_then)
    # a rise of a loss is a loss of capability
    assert tax.name == "alignment_tax vs before" and tax.value == pytest.approx((-0.25 - 0.875) / 2)
    stderr = math.sqrt(first.stderr**2 + second.stderr**2) / 2
    assert tax.stderr == pytest.approx(stderr) and tax.n == 12
    assert tax.ci95[0] == pytest.approx(tax.value - 1.959964 * stderr, rel=1e-6)
    assert tax.verdict == "worse" and tax.details["not_compared"] == ["c acc"]
    tasks = tax.details["tasks"]
    assert tasks["a acc"]["change"] == -0.25
    raw = [comparison.details["p_value"] for comparison in found]
    # Holm over two: the smaller is doubled, the larger is at least that
    assert sorted(task["p_adjusted"] for task in tasks.values()) == pytest.approx(
        [min(1.0, 2 * min(raw)), max(2 * min(raw), max(raw))]
    )


def test_forgetting_by_hand() -> None:
    now, then = [[110.0, 50.0], [260.0, 100.0]], [[100.0, 50.0], [200.0, 100.0]]
    bits = [column("bits_per_byte", "bits_per_byte", rows, up=False) for rows in (now, then)]
    source = [column("bits_per_byte", "of web", rows, up=False) for rows in (now, then)]
    score = make_score("bits_per_byte", "bits_per_byte", statistics.ratio([110, 260], [50, 100]),
                       higher_is_better=False, items="x")  # fmt: skip
    found = compared([bits[0], source[0]], [bits[1], source[1]])
    (forgetting,) = run_alignment_tax([], [score], found)
    assert forgetting.name == "forgetting vs before" and forgetting.value == pytest.approx(70 / 150)
    assert forgetting.details["relative"] == pytest.approx((370 / 150) / (300 / 150) - 1)
    assert forgetting.details["sources"]["web"]["change"] == pytest.approx(70 / 150)
    assert not forgetting.higher_is_better
    with pytest.raises(ArtifactError, match="hold neither bits_per_byte nor any of x acc"):
        run_alignment_tax(["x acc"], [], [])


def test_capabilities_are_the_first_metric_of_each_task() -> None:
    names = ["arc acc", "arc acc_norm", "ifeval prompt_strict", "ifeval prompt_loose"]
    assert capabilities(AlignmentTaxConfig(), names) == ["arc acc", "ifeval prompt_strict"]
    assert capabilities(AlignmentTaxConfig(scores=["arc acc_norm"]), names) == ["arc acc_norm"]
    with pytest.raises(ConfigError, match=r"'arc f1' is no score .* known: arc acc, arc acc_norm"):
        capabilities(AlignmentTaxConfig(scores=["arc f1"]), names)


def test_through_an_evaluation(checkpoints: tuple[Path, Path], tokens: Path, web: Path, tmp_path: Path) -> None:
    common = {
        "bits_per_byte": {"tokens": str(tokens)},
        "tasks": {"task_path": str(web / "tasks"), "run": [{"task": "facts_mc"}]},
        "device": "cpu",
    }
    before = evaluate(EvaluationConfig.model_validate({"model": str(checkpoints[1]), **common}), tmp_path / "before")
    tax = {"before": str(before), "maximum_loss": 1.0, "maximum_forgetting": 0.0}
    config = EvaluationConfig.model_validate({"model": str(checkpoints[0]), "alignment_tax": tax, **common})
    assert [gate.comparison for gate in all_gates(config)] == ["alignment_tax vs before", "forgetting vs before"]
    document = json.loads((evaluate(config, tmp_path / "after") / "scores.json").read_text())
    comparisons = {comparison["name"]: comparison for comparison in document["comparisons"]}
    assert set(comparisons) == {"bits_per_byte vs unigram", "alignment_tax vs before", "forgetting vs before"}
    scores = {(row["task"], row["metric"]): row["value"] for row in document["scores"]}
    earlier = json.loads((before / "scores.json").read_text())["scores"]
    then = {(row["task"], row["metric"]): row["value"] for row in earlier}
    change = scores["facts_mc", "acc"] - then["facts_mc", "acc"]
    assert comparisons["alignment_tax vs before"]["value"] == pytest.approx(change)
    bits = ("bits_per_byte", "bits_per_byte")
    assert comparisons["forgetting vs before"]["value"] == pytest.approx(scores[bits] - then[bits])
    assert {"bootstrap_p", "bootstrap_low"} <= set(comparisons["forgetting vs before"]["details"])
    assert document["gates"][0]["passed"] and document["gates"][1]["passed"] == (scores[bits] <= then[bits])


def test_it_needs_something_before() -> None:
    with pytest.raises(ValueError, match=r"give alignment_tax\.before or previous_scores"):
        EvaluationConfig.model_validate({"model": "m", "ifeval": {"prompts": "p"}, "alignment_tax": {}})
