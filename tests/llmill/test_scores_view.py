"""Scores on the terminal: every score with its interval, comparisons with what they say, gates."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evaluation import statistics
from evaluation.scores import make_comparison, make_score, write_items
from llmill.cli.evaluate import evaluate
from llmill.contamination import ContaminationConfig
from llmill.views.scores import print_scores
from millbase.artifacts import create_artifact
from millbase.errors import ArtifactError, ConfigError


def write_scores(path: Path, kind: str = "scores") -> Path:
    items: list[dict[str, Any]] = [{"id": i, "prompt_hash": "p", "scores": {"acc": float(i < 30)}} for i in range(40)]
    share = statistics.share([item["scores"]["acc"] for item in items])
    clean = {"clean": {"value": 0.7, "low": 0.5, "high": 0.8}}
    score = make_score("quiz", "acc", share, higher_is_better=True, items="items/quiz.jsonl", details=clean)
    wins = make_comparison("win_rate", "win_rate", "reference", share, kind="rate", null=0.5, higher_is_better=True)
    even = make_comparison(
        "quiz", "acc", "previous", statistics.mean([0.1, -0.1, 0.0]), kind="difference", null=0, higher_is_better=True
    )
    gate = {"name": "right", "value": 0.75, "ci95": [0.6, 0.86], "requirement": ">= 0.9", "passed": False}
    with create_artifact(path, kind=kind, config=ContaminationConfig(scores="s", corpus="c")) as artifact:
        (artifact.path / "items").mkdir()
        write_items(artifact.path / "items/quiz.jsonl", items)
        document = {
            "schema": 1, "stage": "sft", "model": {"digest": "d"}, "scores": [asdict(score)],
            "comparisons": [asdict(wins), asdict(even)], "gates": [gate], "skipped": {"rows.jsonl": 2},
        }  # fmt: skip
        (artifact.path / "scores.json").write_text(json.dumps(document))
    return path


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = write_scores(tmp_path / "scores")
    print_scores(scores)
    shown = capsys.readouterr()
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    low, high = statistics.wilson(0.75, 40)
    assert f"quiz acc 0.75 [{low:.3g}, {high:.3g}], 0.7 without contaminated items 40" in lines
    assert any(line.startswith("win_rate vs reference 0.75") and line.endswith("40 better") for line in lines)
    assert any(line.startswith("quiz acc vs previous") and line.endswith("3 cannot tell") for line in lines)
    assert "gates: 0 of 1 passed" in lines and "FAILED sft right 0.75 [0.6, 0.86] >= 0.9" in lines
    assert lines[-1] == "2 rows of rows.jsonl could not be used" and not shown.err
    print_scores(scores, stderr=True)
    again = capsys.readouterr()
    assert again.err == shown.out and not again.out


def test_show_is_a_word_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = write_scores(tmp_path / "scores")
    evaluate(["show", str(scores)])
    assert "without contaminated items" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="show takes one scores artifact, found 0"):
        evaluate(["show"])
    with pytest.raises(ArtifactError, match="is a 'corpus' artifact, expected 'scores'"):
        evaluate(["show", str(write_scores(tmp_path / "other", kind="corpus"))])
