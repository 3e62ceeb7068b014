"""Every mistake in a task file is found, named with its file and key, and the shipped files have none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evaluation.config import TasksConfig
from evaluation.task_files import prepare_tasks
from evaluation.task_index import shipped_names
from evaluation.task_lint import describe_folder, lint_file, lint_folder
from millbase.errors import ConfigError, InputError

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "evaluation" / "tasks"
GOOD: dict[str, Any] = {
    "task": "sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "sums.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_target": "gold",
    "doc_to_choice": "choices",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}


def write(folder: Path, name: str = "sums", **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not None}))
    return file


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"doc_to_txt": "x"}, "doc_to_txt", "unknown key 'doc_to_txt'; did you mean 'doc_to_text'"),
        ({"fewshot_config": {"sampelr": "x"}}, "sampelr", "unknown key 'sampelr' in fewshot_config; .*'sampler'"),
        ({"fewshot_config": {"sampler": "first"}}, "sampler", "sampler 'first' is not known; did you mean 'first_n'"),
        ({"generation_kwargs": {"untill": ["x"]}}, "untill", "in generation_kwargs; did you mean 'until'"),
        ({"output_type": "multiple_choices"}, "output_type", "did you mean 'multiple_choice'"),
        (
            {"metric_list": [{"metric": "acc_nrom"}]},
            "metric",
            "metric 'acc_nrom' is not known; did you mean 'acc_norm'",
        ),
        ({"metric_list": [{"aggregation": "mean"}]}, "metric_list", "has no key 'metric'"),
        ({"metric_list": [{"metric": "acc", "aggregation": "maen"}]}, "aggregation", "'maen' is not known"),
        ({"num_fewshot": 5}, "fewshot_split", "5 few-shot examples but names no fewshot_split"),
        ({"test_split": None}, "test_split", "neither test_split nor validation_split"),
        ({"test_split": "tests"}, "test_split", "'tests' is no split of .*; did you mean 'test'"),
        ({"metadata": None}, "metadata", "no metadata.version"),
        ({"dataset_kwargs": {"data_files": {"test": "../sums.jsonl"}}}, "data_files", r"climbs out .* with '\.\.'"),
        ({"include": "../base.yaml"}, "include", "leads out of"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], key: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("description: x\n")
    file = write(tmp_path / "tasks", **changes)
    (problem,) = lint_file(file, tmp_path / "tasks")
    assert problem.key == key
    assert str(file) in str(problem)
    assert re.search(message, str(problem))


def test_good_files_and_shipped_files_have_no_problems(tmp_path: Path) -> None:
    assert lint_file(write(tmp_path)) == []
    assert lint_folder(FOLDER) == []
    assert {"arc_easy", "gsm8k", "winogrande"} <= {task.name for task in describe_folder(FOLDER)}
    assert all(task.about and task.version != "?" for task in describe_folder(FOLDER))


def test_names_defined_twice_and_broken_files(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b")
    (tmp_path / "c.yaml").write_text("task: [unclosed\n")
    messages = [str(problem) for problem in lint_folder(tmp_path)]
    assert len(messages) == 2
    assert "is also defined in" in messages[0] and "not a valid task file" in messages[1]


def test_data_that_climbs_out_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "tasks", dataset_kwargs={"data_files": {"test": "../secret.jsonl"}})
    (tmp_path / "secret.jsonl").write_text("{}\n")
    config = TasksConfig.model_validate({"task_path": str(tmp_path / "tasks"), "run": [{"task": "sums"}]})
    with pytest.raises(ConfigError, match="climbs out of its folder"):
        prepare_tasks(config, cache=tmp_path, seed=0, maximum_bad_share=0)


def test_published_tasks_by_name_from_local_files(tmp_path: Path) -> None:
    """lm-eval's own definition of a subject of MMLU; no index of all tasks is made."""
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "datasets.yaml").write_text("cais/mmlu: mmlu/{name}.{split}.jsonl\n")
    (tmp_path / "mmlu").mkdir()
    rows = [{"question": f"Which bone, {i}?", "choices": ["a", "b", "c", "d"], "answer": i % 4} for i in range(6)]
    for split in ("dev", "test"):
        text = "".join(json.dumps({**row, "question": split + row["question"]}) + "\n" for row in rows)
        (tmp_path / "mmlu" / f"anatomy.{split}.jsonl").write_text(text)
    run = {"task": "mmlu_anatomy", "num_fewshot": 2}
    config = {"task_path": str(tasks), "data_path": str(tmp_path), "run": [run]}
    (task,) = prepare_tasks(TasksConfig.model_validate(config), cache=tmp_path, seed=0, maximum_bad_share=0)
    context = task.task.fewshot_context(task.task.eval_docs[3], 2)
    assert context.startswith(
        "The following are multiple choice questions (with answers) about anatomy.\n\ndevWhich bone, 0?"
    )
    assert context.endswith("testWhich bone, 3?\nA. a\nB. b\nC. c\nD. d\nAnswer:")
    assert len(shipped_names()) > 10_000
    config["run"] = [{"task": "mmlu_virology"}]
    with pytest.raises(InputError, match=r"data set 'cais/mmlu' \(virology\) is not there: looked for 'mmlu/virology"):
        prepare_tasks(TasksConfig.model_validate(config), cache=tmp_path, seed=0, maximum_bad_share=0)
    (tasks / "datasets.yaml").write_text("cais/mmlu: 5\n")
    with pytest.raises(InputError, match=r"datasets\.yaml.*'cais/mmlu' must be a file pattern"):
        prepare_tasks(TasksConfig.model_validate(config), cache=tmp_path, seed=0, maximum_bad_share=0)
