"""What goes wrong with one task: named before anything runs, or counted, or costing no more than that task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.adapter import CheckpointLM
from evaluation.config import TasksConfig
from evaluation.task_files import PreparedTask, prepare_tasks
from evaluation.tasks import run_tasks
from millbase.errors import ConfigError, StageError
from training.load import LoadedModel


def prepare(web: Path, cache: Path, *runs: dict[str, Any]) -> list[PreparedTask]:
    config = TasksConfig.model_validate({"task_path": str(web / "tasks"), "run": list(runs)})
    return prepare_tasks(config, cache=cache, seed=0, maximum_bad_share=0)


def test_a_chat_task_without_a_chat_template_stops_before_anything_runs(
    loaded: LoadedModel, web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = prepare(web, tmp_path, {"task": "facts_mc"}, {"task": "answers", "apply_chat_template": True})
    monkeypatch.setattr(loaded.tokenizer, "chat_template", None)
    monkeypatch.setattr(CheckpointLM, "loglikelihood", lambda *args, **kwargs: pytest.fail("a task ran"))
    with pytest.raises(ConfigError, match=r"task 'answers' has apply_chat_template.*hf.* has no chat template; set"):
        run_tasks(loaded, tasks, seed=0, batch_size=4)


def test_prompts_longer_than_the_context_are_counted(loaded: LoadedModel, web: Path, tmp_path: Path) -> None:
    short = replace(loaded, max_length=32)
    tasks = prepare(web, tmp_path, {"task": "facts_mc", "limit": 4}, {"task": "answers", "limit": 4})
    result = run_tasks(short, tasks, seed=0, batch_size=4)
    by_task = {score.task: score.details for score in result.scores}
    assert by_task["answers"]["truncated"] == 4  # 24 of the 32 places are kept for the answer
    full = run_tasks(loaded, tasks, seed=0, batch_size=4)
    assert all("truncated" not in score.details for score in full.scores)


def test_finished_tasks_keep_their_results(
    loaded: LoadedModel, web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = prepare(web, tmp_path, {"task": "facts_mc", "limit": 4}, {"task": "answers", "limit": 4})
    expected = run_tasks(loaded, tasks, seed=0, batch_size=4)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the machine caught fire")

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointLM, "generate_until", broken)
        with pytest.raises(StageError, match="task 'answers' failed: RuntimeError: the machine caught fire"):
            run_tasks(loaded, tasks, seed=0, batch_size=4, keep=tmp_path / "kept")
    monkeypatch.setattr(CheckpointLM, "loglikelihood", lambda *args, **kwargs: pytest.fail("asked again"))
    again = run_tasks(loaded, tasks, seed=0, batch_size=4, keep=tmp_path / "kept")
    assert [score.value for score in again.scores] == [score.value for score in expected.scores]
    assert again.items.keys() == expected.items.keys()
