"""The score without contaminated items, inside scores.json, for items that an earlier stage's were looked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation import EvaluationConfig, evaluate, statistics
from evaluation.clean import read_flags
from millbase.artifacts import create_artifact
from millbase.config import Config
from millbase.errors import ArtifactError


class ByHand(Config):
    """Configuration of a hand-made artifact."""

    name: str = "x"
    """What it is."""


def write_contamination(path: Path, **document: object) -> Path:
    with create_artifact(path, kind="contamination", config=ByHand()) as artifact:
        (artifact.path / "contamination.json").write_text(json.dumps({"schema": 1, **document}))
    return path


def test_each_score_says_what_it_is_without_found_items(
    checkpoints: tuple[Path, Path], web: Path, tmp_path: Path
) -> None:
    found, clean = ["0", "3", "7"], [str(i) for i in range(20) if i not in (0, 3, 7, 11)]
    looked = {"items_found": {"items/facts_mc.jsonl": found}, "items_clean": {"items/facts_mc.jsonl": clean}}
    config = EvaluationConfig.model_validate(
        {
            "model": str(checkpoints[0]),
            "tasks": {"task_path": str(web / "tasks"), "run": [{"task": "facts_mc"}, {"task": "prose"}]},
            "contamination": str(write_contamination(tmp_path / "contamination", **looked)),
            "device": "cpu",
        }
    )
    out = evaluate(config, tmp_path / "scores")
    scores = {(row["task"], row["metric"]): row for row in json.loads((out / "scores.json").read_text())["scores"]}
    rows = [json.loads(line) for line in (out / "items" / "facts_mc.jsonl").read_text().splitlines()]
    kept = [row["scores"]["acc"] for row in rows if str(row["id"]) not in found]
    details = scores["facts_mc", "acc"]["details"]["clean"]
    assert details["contaminated"]["value"] == pytest.approx(3 / 19) and details["contaminated"]["n"] == 19
    assert details["score"]["value"] == pytest.approx(sum(kept) / 17) and details["score"]["n"] == 17
    assert details["score"]["ci95"] == pytest.approx(statistics.wilson(sum(kept) / 17, 17))
    assert details["unchecked"] == 1
    assert "clean" not in scores["prose", "bits_per_byte"]["details"]  # its items were not looked for


def test_an_artifact_of_the_earlier_form_is_refused(tmp_path: Path) -> None:
    path = write_contamination(tmp_path / "old", items_found={})
    with pytest.raises(ArtifactError, match="does not say which items were looked for; make it again"):
        read_flags(path)
