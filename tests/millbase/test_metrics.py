"""Weights & Biases: what is sent to it, against a stand-in that takes what wandb takes, and against wandb offline."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from millbase.errors import ConfigError
from millbase.metrics import MetricsWriter, read_metrics


class Wandb:
    """The three calls of wandb that are made, with its own parameter names."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []

    def init(self, *, dir: str, name: str | None, id: str, resume: str) -> Any:
        run: dict[str, Any] = {"dir": dir, "name": name, "id": id, "resume": resume, "lines": [], "finished": False}
        self.runs.append(run)

        def log(data: dict[str, Any]) -> None:
            run["lines"].append(data)

        def define_metric(name: str, *, step_metric: str) -> None:
            run["axis"] = (name, step_metric)

        def finish() -> None:
            run["finished"] = True

        return SimpleNamespace(log=log, define_metric=define_metric, finish=finish)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    stand_in = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_NAME", "first try")
    return stand_in


def test_lines_go_to_weights_and_biases_with_our_steps(wandb: Wandb, tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as metrics:
        metrics.log(1, {"loss": 2.0})
        metrics.log(2, {"loss": float("nan")})
        metrics.rewind(1)
        metrics.log(2, {"loss": 1.5})
    (run,) = wandb.runs
    assert (run["dir"], run["name"], run["resume"]) == (str(tmp_path), "first try", "allow")
    assert run["axis"] == ("*", "step")
    assert [line["step"] for line in run["lines"]] == [1, 2, 2] and run["lines"][2]["loss"] == 1.5
    assert run["finished"]
    assert [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [2.0, 1.5]


def test_an_interrupted_run_goes_on_as_the_same_run(wandb: Wandb, tmp_path: Path) -> None:
    for resume in (None, 1):
        with MetricsWriter(tmp_path / "run", resume_step=resume) as metrics:
            metrics.log(1 if resume is None else 2, {"loss": 1.0})
    MetricsWriter(tmp_path / "other").close()
    one, again, other = (run["id"] for run in wandb.runs)
    assert one == again != other


def test_without_a_project_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, wandb: Wandb, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_PROJECT")
    MetricsWriter(tmp_path).close()
    assert not wandb.runs
    assert not (tmp_path / "wandb_id").exists()


def test_a_project_without_the_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    with pytest.raises(ConfigError, match="pip install wandb, or unset it"):
        MetricsWriter(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed (pip install llmill[wandb])")
def test_wandb_itself_takes_our_lines_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for resume in (None, 1):
        with MetricsWriter(tmp_path, resume_step=resume) as metrics:
            metrics.log(1 if resume is None else 2, {"loss": 1.0})
    written = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    name = (tmp_path / "wandb_id").read_text()
    assert [file.name for file in written] == [f"run-{name}.wandb"] * 2
    assert all(b"loss" in file.read_bytes() for file in written)
