"""Categories, RewardBench's mean, best-of-K, calibration and length bias of a reward model's verdicts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.config import RewardAccuracyConfig
from evaluation.reward_accuracy import run_reward_accuracy
from evaluation.reward_report import SECTIONS, calibration_error, category_scores, length_bias


def item(margin: float, category: str | None = None, chosen: int = 2, rejected: int = 1) -> dict[str, Any]:
    return {
        "margin": margin,
        "category": category,
        "chosen_characters": chosen,
        "rejected_characters": rejected,
        "scores": {"accuracy": float(margin > 0)},
    }


def test_rewardbench_weighs_mathematics_as_all_code() -> None:
    rows = [item(1, "math-prm")] * 2 + [item(-1, "hep-cpp")] * 3 + [item(1, "hep-go")] * 1
    scores = {f"{s.task} {s.metric}": s for s in category_scores(rows, "i")}
    assert scores["reward_accuracy accuracy math-prm"].value == 1.0
    assert scores["rewardbench reasoning"].value == pytest.approx((4 * 1.0 + 3 * 0.0 + 1 * 1.0) / 8)
    assert scores["rewardbench score"].value == scores["rewardbench reasoning"].value, "one section is there"


def test_rewardbench_is_the_mean_of_its_sections() -> None:
    rows = [item(1, "alpacaeval-easy")] * 9 + [item(-1, "donotanswer"), item(1, "donotanswer")]
    scores = {s.metric: s for s in category_scores(rows, "i") if s.task == "rewardbench"}
    assert scores["score"].value == pytest.approx((1.0 + 0.5) / 2) and scores["score"].n == 11
    assert sum(len(subsets) for subsets in SECTIONS.values()) == 23
    assert not [s for s in category_scores([item(1, "own"), item(1, "donotanswer")], "i") if s.task == "rewardbench"]
    assert category_scores([item(1)], "i") == []


def test_margins_that_are_log_odds_are_calibrated_and_doubled_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.exponential(1.5, size=1500)
    signs = np.where(generator.random(1500) < 1 / (1 + np.exp(-sizes)), 1, -1)
    honest = [item(float(margin)) for margin in sizes * signs]
    boastful = [item(float(3 * margin)) for margin in sizes * signs]
    assert calibration_error(honest).value < 0.04
    expected = float(np.mean(1 / (1 + np.exp(-3 * sizes)) - 1 / (1 + np.exp(-sizes))))
    assert calibration_error(boastful).value == pytest.approx(expected, abs=0.03)


def test_length_bias_is_seen() -> None:
    rows = [item(1, chosen=9)] * 3 + [item(-1, rejected=9)] * 4 + [item(1, rejected=9)] + [item(1, chosen=1)]
    bias = length_bias(rows)
    assert bias["accuracy_when_chosen_is_longer"] == 1.0 and bias["accuracy_when_chosen_is_shorter"] == 0.2
    assert bias["model_prefers_longer"] == pytest.approx(7 / 8) and bias["labels_prefer_longer"] == pytest.approx(3 / 8)
    assert length_bias([item(1, chosen=1)])["model_prefers_longer"] is None


class Lengths:
    """A reward model that likes long answers."""

    path = "lengths"

    def score(self, conversations: list[list[dict[str, str]]], *, batch_size: int) -> list[float]:
        return [float(len(conversation[-1]["content"])) for conversation in conversations]


def test_best_of_four_needs_the_chosen_above_all(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": ["xxxx"], "rejected": ["x", "xx", "xxx"], "subset": "Focus"},
        {"prompt": "q", "chosen": ["xx"], "rejected": ["x", "x", "xxx"], "subset": "Focus"},
        {"prompt": "q", "chosen": "xxx", "rejected": "xxx", "subset": "Ties"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    result = run_reward_accuracy(Lengths(), RewardAccuracyConfig(pairs=str(path)), batch_size=8, maximum_bad_share=0)  # type: ignore[arg-type]
    by_name = {score.metric: score for score in result.scores}
    assert by_name["accuracy"].value == pytest.approx(1 / 3)
    assert by_name["accuracy Focus"].value == 0.5 and by_name["accuracy Ties"].value == 0.0
    assert by_name["accuracy"].details["ties"] == 1 and by_name["accuracy"].details["most_choices"] == 4
    assert math.isfinite(by_name["calibration_error"].value)
