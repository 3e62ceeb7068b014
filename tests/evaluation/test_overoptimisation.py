"""Learned against true reward over checkpoints, on tables written by hand and on random models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.config import EvaluationConfig
from evaluation.overoptimisation import _against_best, _summary, checkpoint_labels, correlation, run_overoptimisation
from evaluation.responses import Responses
from millbase.errors import InputError
from tests.evaluation.conftest import write_jsonl
from training.load import load_model

PROMPTS = 40


def tables(true: list[float], learned: list[float], noise: float = 0.1) -> dict[str, np.ndarray]:
    """Checkpoints with these means over 40 prompts."""
    generator = np.random.default_rng(0)
    return {
        name: np.array(means)[:, None] + noise * generator.normal(size=(len(means), PROMPTS))
        for name, means in (("true", true), ("learned", learned))
    }


def test_a_policy_that_games_its_reward_is_found() -> None:
    result = _summary(["early", "middle", "last"], tables([0.0, 1.0, 0.3], [0.0, 1.0, 2.0]), [])
    true, learned = result.comparisons
    assert true.name == "overoptimisation true reward vs best checkpoint" and true.verdict == "worse"
    assert true.value == pytest.approx(-0.7, abs=0.1) and learned.value == pytest.approx(1.0, abs=0.1)
    assert learned.details == {"best": ["middle", "middle"], "over_optimised": True}
    names = [score.name for score in result.scores]
    assert "overoptimisation true at middle" in names and len(names) == 6


def test_a_policy_that_still_gains_is_not() -> None:
    result = _summary(["early", "middle", "last"], tables([0.0, 0.5, 1.0], [0.0, 1.0, 2.0]), [])
    assert [comparison.value for comparison in result.comparisons] == [0.0, 0.0]  # the last is the best
    assert result.comparisons[0].details["over_optimised"] is False


def test_the_best_of_equal_checkpoints_does_not_look_better() -> None:
    """Eight checkpoints that do not differ: choosing and measuring on one set would find a best one above the last."""
    found, naive = [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        table = generator.normal(size=(8, PROMPTS))
        comparisons, _ = _against_best({"true": table, "learned": table})
        found.append(comparisons[0].verdict == "worse")
        naive.append(table[-1].mean() - table.mean(axis=1).max())
    assert np.mean(naive) < -0.15
    assert np.mean(found) <= 0.1


def test_correlation_by_hand() -> None:
    assert correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])) == pytest.approx(1.0)
    assert correlation(np.array([1.0, 2.0]), np.array([1.0, 1.0])) is None
    assert checkpoint_labels(["runs/a/100", "runs/a/200"]) == ["100", "200"]
    assert checkpoint_labels(["x/ppo", "y/ppo", "sft"]) == ["ppo.0", "ppo.1", "sft"]


def test_from_checkpoints_to_scores(
    checkpoints: tuple[Path, Path], reward_checkpoint: Path, web: Path, tmp_path: Path
) -> None:
    block = {
        "prompts": str(web / "prompts" / "heldout.jsonl"),
        "checkpoints": [str(checkpoints[1])],
        "learned": str(reward_checkpoint),
        "rule": str(web / "rule.json"),
        "sampling": {"max_new_tokens": 8},
        "limit": 6,
    }
    config = EvaluationConfig.model_validate({"model": str(checkpoints[0]), "overoptimisation": block, "device": "cpu"})
    reference = load_model(checkpoints[1], device="cpu")
    result = run_overoptimisation(lambda path: load_model(path, device="cpu"), reference, config, Responses(0, 8))
    scores = {score.metric: score for score in result.scores}
    assert set(scores) == {f"{name} at {label}" for name in ("learned", "true", "kl") for label in ("a", "b")}
    assert scores["kl at b"].value == 0 and scores["kl at a"].value > 0
    items = result.items["items/overoptimisation.jsonl"]
    assert len(items) == 6 and set(items[0]["responses"]) == {"a", "b"}
    mean = sum(item["scores"]["learned at a"] for item in items) / 6
    assert scores["learned at a"].value == pytest.approx(mean)
    few = write_jsonl(tmp_path / "few.jsonl", [{"prompt": "x", "answer": "y"}] * 3)
    small = EvaluationConfig.model_validate(
        {"model": str(checkpoints[0]), "overoptimisation": {**block, "prompts": str(few)}, "device": "cpu"}
    )
    with pytest.raises(InputError, match="at least 4 prompts, found 3"):
        run_overoptimisation(lambda path: load_model(path, device="cpu"), None, small, Responses(0, 8))


def test_exactly_one_truth() -> None:
    block = {"prompts": "p", "checkpoints": ["a"], "learned": "r"}
    with pytest.raises(ValueError, match="exactly one true reward"):
        EvaluationConfig.model_validate({"model": "m", "overoptimisation": block})
