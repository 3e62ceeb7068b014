"""An ablation becomes a recipe of ordinary stages; its verdict is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmill.ablation.config import AblateConfig
from llmill.ablation.recipe import as_recipe
from llmill.ablation.show import print_verdict
from millbase.config import load_config
from millbase.errors import ConfigError

VALUES = {
    "arms": {
        "clean": {"file": "clean.yaml", "config": {"seed": 3}},
        "raw": {"corpus": "runs/raw"},
    },
    "held_out": {"books": {"corpus": "runs/books"}},
    "pretrain": {"config": {"steps": 10}, "set": {"model.layers": 2}},
    "seeds": [5, 6],
    "evaluate": {"config": {"tasks": {"run": []}}},
}


def test_each_arm_and_seed_gets_the_same_training() -> None:
    stages = as_recipe(load_config(AblateConfig, VALUES), Path("/conf"))["stages"]
    assert stages["corpus_clean"] == {"run": "corpus", "config": {"seed": 3}, "set": {}, "file": "/conf/clean.yaml"}
    assert "corpus_raw" not in stages
    texts = [{"path": "${corpus_clean}"}, {"path": "runs/raw"}]
    assert stages["tokenizer"]["config"]["texts"] == texts, "the tokenizer must favour no arm"
    models = {name: stage for name, stage in stages.items() if stage["run"] == "pretrain"}
    assert list(models) == ["model_clean_5", "model_clean_6", "model_raw_5", "model_raw_6"]
    for name, stage in models.items():
        _, arm, seed = name.split("_")
        assert stage["set"] == {"model.layers": 2, "data.tokens": f"${{tokens_{arm}}}", "seed": int(seed)}
        assert stage["config"] == {"steps": 10}
    first, second = stages["verdict"]["config"]["arms"]
    assert first["scores"][1] == {"books": "${scores_clean_6_books}", "tasks": "${scores_clean_6_tasks}"}
    assert second["name"] == "raw"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seeds": [1]}, "at least two different ones"),
        ({"arms": {"a": {"corpus": "x"}}}, "expected two, found 1"),
        ({"held_out": {}}, "at least one set"),
        ({"held_out": {"raw": {"corpus": "x"}}}, "different names"),
        ({"arms": {"a": {}, "b": {"corpus": "x"}}}, "give either corpus"),
        ({"arms": {"A b": {"corpus": "y"}, "b": {"corpus": "x"}}}, "'A b'"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_config(AblateConfig, {**VALUES, **change})


def test_the_verdict_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "task": "books bits_per_byte",
        "metric": "bits_per_byte",
        "difference": -0.1,
        "ci95": [-0.2, -0.05],
        "stderr": 0.02,
        "items": 60,
        "means": [1.9, 2.0],
        "p": 0.001,
        "p_adjusted": 0.002,
        "smallest_detectable": 0.06,
        "higher_is_better": False,
        "verdict": "better",
    }
    document = {"arms": ["clean", "raw"], "seeds": 3, "scores": [row], "verdict": "clean is better on books"}
    (tmp_path / "ablation.json").write_text(json.dumps(document))
    print_verdict(tmp_path)
    shown = capsys.readouterr().out
    assert "clean minus raw, 3 seeds each" in shown and "clean is better on books" in shown and "0.002" in shown
    assert any("books bits_per_byte" in line and "[-0.2, -0.05]" in line for line in shown.splitlines()), (
        "cut to a width"
    )
