"""The scored document is never among its own worked examples, where lm-eval alone would put it there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation import task_files
from evaluation.config import TasksConfig
from evaluation.few_shot import LeakGuard, guard
from evaluation.task_files import PreparedTask, prepare_tasks
from millbase.errors import ConfigError


def prepare(folder: Path, shots: int, seed: int = 0, **changes: Any) -> PreparedTask:
    """A task of eight questions that is scored on its validation split and takes its examples from there."""
    config = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": "sums.jsonl", "train": "train.jsonl"}},
        "validation_split": "validation",
        "fewshot_split": "validation",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
        **changes,
    }
    folder.mkdir(exist_ok=True)
    rows = [{"question": f"What is {i}+1?", "answer": str(i + 1)} for i in range(8)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # the training file repeats every question, with another answer written out
    (folder / "train.jsonl").write_text(
        "".join(json.dumps({**row, "answer": f"{row['answer']}."}) + "\n" for row in rows)
    )
    (folder / "sums.yaml").write_text(json.dumps(config))
    run = {"task_path": str(folder), "run": [{"task": "sums", "num_fewshot": shots}]}
    (task,) = prepare_tasks(TasksConfig.model_validate(run), cache=folder / "cache", seed=seed, maximum_bad_share=0)
    return task


def leaks(task: PreparedTask, shots: int, seed: int) -> int:
    task.task.set_fewshot_seed(seed)
    contexts = [(doc, task.task.fewshot_context(doc, shots)) for doc in task.task.eval_docs]
    for _, context in contexts:
        assert context.count("What is") == shots + 1
    return sum(context.count(doc["question"]) - 1 for doc, context in contexts)


@pytest.mark.parametrize("changes", [{}, {"fewshot_split": "train"}, {"fewshot_config": {"sampler": "first_n"}}])
def test_no_scored_item_is_its_own_example(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = prepare(tmp_path / "a", 3, **changes)
    assert sum(leaks(guarded, 3, seed) for seed in range(10)) == 0
    monkeypatch.setattr(task_files, "guard", lambda task: None)  # lm-eval alone
    assert sum(leaks(prepare(tmp_path / "b", 3, **changes), 3, seed) for seed in range(10)) > 0


def test_other_examples_stay_lm_evals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = []
    guarded = prepare(tmp_path / "a", 2)
    guarded.task.sampler._replaced = lambda: replaced.append(1)
    guarded.task.set_fewshot_seed(5)
    ours = [guarded.task.fewshot_context(doc, 2) for doc in guarded.task.eval_docs]
    monkeypatch.setattr(task_files, "guard", lambda task: None)
    plain = prepare(tmp_path / "b", 2)
    plain.task.set_fewshot_seed(5)
    theirs = [plain.task.fewshot_context(doc, 2) for doc in plain.task.eval_docs]
    assert sum(a != b for a, b in zip(ours, theirs, strict=True)) == len(replaced) < 8


def test_too_few_examples_are_named(tmp_path: Path) -> None:
    task = prepare(tmp_path / "a", 8)
    with pytest.raises(ConfigError, match=r"num_fewshot 8 needs as many documents besides the scored one.*has 7"):
        leaks(task, 8, 0)
    task = prepare(tmp_path / "b", 9)
    with pytest.raises(ConfigError, match="num_fewshot 9, but split 'validation' holds only 8"):
        leaks(task, 9, 0)


def test_a_task_is_guarded_once(tmp_path: Path) -> None:
    task = prepare(tmp_path / "a", 2).task
    before = task.sampler
    guard(task)
    assert task.sampler is before and isinstance(before, LeakGuard)
