"""Differences over seeds and items: worked values, coverage in simulation, the artifact with the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from evaluation.ablation import AblationConfig, judge_ablation, read_ablation
from evaluation.repeats import crossed_difference
from millbase.artifacts import create_artifact
from millbase.errors import ArtifactError


def test_the_variance_is_that_of_both_main_effects() -> None:
    """Two seeds, three items, worked by hand: seed means 2 and 4, item means 2, 3, 4."""
    estimate, p = crossed_difference(np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]))
    of_seeds, of_items = 2.0 / 2, 1.0 / 3
    assert (estimate.value, estimate.stderr) == pytest.approx((3.0, (of_seeds + of_items) ** 0.5))
    t1, t2 = scipy.stats.t.ppf(0.975, 1), scipy.stats.t.ppf(0.975, 2)
    half = (t1**2 * of_seeds + t2**2 * of_items) ** 0.5
    assert (estimate.low, estimate.high) == pytest.approx((3 - half, 3 + half))
    t1, t2 = scipy.stats.t.isf(p / 2, 1), scipy.stats.t.isf(p / 2, 2)
    assert (t1**2 * of_seeds + t2**2 * of_items) ** 0.5 == pytest.approx(3.0), "the p-value's interval ends at zero"


def test_weights_make_it_a_ratio() -> None:
    bits = np.array([[10.0, 30.0, 5.0], [12.0, 28.0, 6.0]])
    sizes = np.array([20.0, 50.0, 10.0])
    estimate, _ = crossed_difference(bits, sizes)
    assert estimate.value == pytest.approx(bits.sum() / (2 * sizes.sum()))
    proportional, _ = crossed_difference(np.array([sizes, sizes]) * 0.3, sizes)
    assert proportional.stderr == pytest.approx(0, abs=1e-12)


def test_one_seed_says_nothing() -> None:
    estimate, p = crossed_difference(np.ones((1, 5)))
    assert estimate.low == -np.inf and np.isnan(p)


@pytest.mark.parametrize(("of_seeds", "of_items"), [(0.5, 0.1), (0.05, 1.0), (0.3, 0.3), (0.0, 0.0)])
def test_intervals_cover_and_alarms_stay_rare(of_seeds: float, of_items: float) -> None:
    """Conservative by construction: at least 95% coverage, whichever variance dominates, with three seeds."""
    generator = np.random.default_rng(0)
    runs, covered, alarms = 400, 0, 0
    for _ in range(runs):
        d = 0.7 + of_seeds * generator.normal(size=(3, 1)) + of_items * generator.normal(size=(1, 40))
        d = d + 0.5 * generator.normal(size=(3, 40))
        estimate, _ = crossed_difference(d)
        covered += estimate.low <= 0.7 <= estimate.high
        alarms += crossed_difference(d - 0.7)[1] < 0.05
    assert covered >= scipy.stats.binom.ppf(0.001, runs, 0.95)
    assert alarms <= scipy.stats.binom.ppf(0.999, runs, 0.05)


def scores(path: Path, accuracy: list[float], bits: list[float]) -> str:
    """A scores artifact with a task and bits per byte."""
    from evaluation import statistics
    from evaluation.scores import make_score, write_items

    with create_artifact(path, kind="scores", config=AblationConfig.model_construct(), inputs={}) as artifact:
        (artifact.path / "items").mkdir()
        write_items(
            artifact.path / "items/t.jsonl",
            [{"id": i, "prompt_hash": "p", "scores": {"acc": value}} for i, value in enumerate(accuracy)],
        )
        write_items(
            artifact.path / "items/b.jsonl",
            [
                {"id": i, "prompt_hash": "p", "scores": {"bits_per_byte": [value, 100.0]}}
                for i, value in enumerate(bits)
            ],
        )
        made = [
            make_score("t", "acc", statistics.mean(accuracy), higher_is_better=True, items="items/t.jsonl"),
            make_score(
                "bits_per_byte", "bits_per_byte", statistics.mean(bits), higher_is_better=False, items="items/b.jsonl"
            ),
        ]
        document = {"schema": 1, "model": {"digest": "d"}, "scores": [vars(score) for score in made]}
        (artifact.path / "scores.json").write_text(json.dumps(document))
    return str(path)


def arms(tmp_path: Path, gain: float) -> list[dict[str, object]]:
    generator = np.random.default_rng(1)
    base = generator.uniform(150, 250, size=60)
    made = []
    for arm, shift in (("good", gain), ("plain", 0.0)):
        paths = []
        for seed in range(3):
            bits = list(base - shift + generator.normal(0, 2, size=60))
            accuracy = [float(value) for value in generator.random(60) < 0.5]
            paths.append({"tasks": scores(tmp_path / f"{arm}{seed}", accuracy, bits)})
        made.append({"name": arm, "scores": paths})
    return made


def test_the_better_corpus_is_named_with_its_interval(tmp_path: Path) -> None:
    config = AblationConfig.model_validate({"arms": arms(tmp_path, gain=20.0)})
    found = read_ablation(judge_ablation(config, tmp_path / "verdict"))
    task, bits = found["scores"]
    assert (bits["verdict"], task["verdict"]) == ("better", "cannot tell")
    assert bits["ci95"][0] < -0.2 < bits["ci95"][1] < 0 and bits["items"] == 60
    assert bits["means"][0] - bits["means"][1] == pytest.approx(bits["difference"])
    assert found["verdict"] == "good is better on bits_per_byte; not to be told apart on 1 more (against plain)"


def test_equal_corpora_are_not_told_apart(tmp_path: Path) -> None:
    config = AblationConfig.model_validate({"arms": arms(tmp_path, gain=0.0)})
    found = read_ablation(judge_ablation(config, tmp_path / "verdict"))
    assert found["verdict"] == "cannot tell good from plain on any of 2 scores"


def test_mistakes_are_named(tmp_path: Path) -> None:
    made = arms(tmp_path, gain=0.0)
    made[1]["scores"] = made[1]["scores"][:2]  # type: ignore[index]
    with pytest.raises(ValueError, match="good has 3 seeds and plain 2"):
        AblationConfig.model_validate({"arms": made})
    made = arms(tmp_path, gain=0.0)
    made[1]["scores"] = [{"other": path["tasks"]} for path in made[1]["scores"]]  # type: ignore[attr-defined]
    with pytest.raises(ArtifactError, match="no metric with common items"):
        judge_ablation(AblationConfig.model_validate({"arms": made}), tmp_path / "verdict")
