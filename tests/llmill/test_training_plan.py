"""``llmill plan`` from the command line, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmill.cli.app import app
from millbase.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DEMO = str(REPOSITORY / "configs/pretrain/demo.yaml")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the checkout, where a finished demo may lie: its tokens would answer what is asked for here."""
    monkeypatch.chdir(tmp_path)


def plan(*words: str) -> str:
    done = CliRunner().invoke(app, ["plan", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_tables() -> None:
    text = plan(DEMO, "--vocab", "4096", "--gpus", "4", "--price", "2", "dtype=bfloat16", "micro_batch_size=4")
    for words in ("parameters", "FLOPs, 6ND", "optimizer", "activations", "all-reduce", "MFU", "GPU-hours", "cost"):
        assert words in text
    assert "4 x h100: tensor 2, data 2" in text


def test_json_with_search() -> None:
    found = json.loads(
        plan(DEMO, "--vocab", "4096", "--gpus", "2", "--search", "--top", "2", "--json", "--tokens", "1e9")
    )
    assert found["work"]["tokens"] == 1e9 and found["gpus"] == 2
    assert len(found["search"]["best"]) == 2 and found["search"]["why"]
    assert "parallel.tensor=" in found["search"]["best"][0]["overrides"]


def test_post_training() -> None:
    words = [str(REPOSITORY / "configs/posttrain/ppo_demo.yaml"), "--shape", DEMO, "--vocab", "4096"]
    assert "value model" in plan(*words)
    found = json.loads(plan(*words, "--json", "--frozen", "bfloat16"))
    assert found["states_bytes_per_parameter"] == pytest.approx(36)


def test_mistakes() -> None:
    for words, message in (
        ([DEMO], "how large is the vocabulary"),
        ([DEMO, "--vocab", "9", "--gpus", "3"], "not divisible by tensor 2"),
        ([DEMO, "--vocab", "9", "--stage", "sftt"], "expected pretrain, sft"),
        ([str(REPOSITORY / "configs/posttrain/sft_demo.yaml")], "not there to ask for its size"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(*words)
