"""What lm-eval lets pass and we refuse or mend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.config import TasksConfig
from evaluation.task_files import PreparedTask, prepare_tasks
from evaluation.tasks import run_tasks
from millbase.errors import ConfigError, InputError, StageError, UserError
from training.load import LoadedModel

WriteTask = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good generation task, `sums`, of twelve documents."""
    path = tmp_path / "tasks"
    path.mkdir()
    write_data(path, [{"question": f"{i}+1=", "answer": str(i + 1), "kind": "ab"[i % 2]} for i in range(12)])
    write_task(path)
    return path


def write_data(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_task(folder: Path, name: str = "sums", **changes: Any) -> None:
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "sums.jsonl"}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 3.0},
    }
    config = {key: value for key, value in {**config, **changes}.items() if value is not None}
    (folder / f"{name}.yaml").write_text(json.dumps(config))


def prepare(folder: Path, cache: Path, data_path: str | None = None, **run: Any) -> list[PreparedTask]:
    config = TasksConfig.model_validate(
        {"task_path": str(folder), "data_path": data_path, "run": [{"task": "sums", **run}]}
    )
    return prepare_tasks(config, cache=cache, seed=0, maximum_bad_share=0.1)


def test_relative_data_files_are_found_beside_the_task_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (task,) = prepare(folder, tmp_path / "cache")
    assert len(task.task.eval_docs) == 12
    assert task.version == "3.0"


def test_data_path_is_the_second_place(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (folder / "sums.jsonl").rename(data / "sums.jsonl")
    with pytest.raises(InputError, match=r"sums\.jsonl.*tasks\.data_path"):
        prepare(folder, tmp_path / "cache")
    (task,) = prepare(folder, tmp_path / "cache", data_path=str(data))
    assert len(task.task.eval_docs) == 12


def test_a_relative_include_still_works(folder: Path, tmp_path: Path) -> None:
    write_task(folder, "base_sums", task=None)
    (folder / "base_sums.yaml").rename(folder / "_base.yaml")
    (folder / "sums.yaml").write_text(
        json.dumps({"include": "_base.yaml", "task": "sums", "doc_to_text": "Q {{question}}"})
    )
    (task,) = prepare(folder, tmp_path / "cache")
    assert task.task.doc_to_text(task.task.eval_docs[0]) == "Q 0+1="


@pytest.mark.parametrize(
    ("changes", "run", "error", "message"),
    [
        ({"doc_to_txt": "x"}, {}, ConfigError, "unknown key 'doc_to_txt'; did you mean 'doc_to_text'"),
        ({"num_fewshot": 2}, {}, ConfigError, "2 few-shot examples but names no fewshot_split"),
        ({}, {"num_fewshot": 1}, ConfigError, "names no fewshot_split"),
        ({"unsafe_code": True}, {}, ConfigError, "model-written code"),
        (
            {"output_type": "generate"},
            {},
            ConfigError,
            "output_type 'generate' is not known; did you mean 'generate_until'",
        ),
        ({"test_split": "tset"}, {}, ConfigError, "test_split 'tset' is no split of .*; did you mean 'test'"),
        ({"dataset_kwargs": {"data_files": {"test": "gone.jsonl"}}}, {}, InputError, r"gone\.jsonl"),
    ],
)
def test_wrong_task_files_are_refused_with_one_line(
    changes: dict[str, Any], run: dict[str, Any], error: type[UserError], message: str, folder: Path, tmp_path: Path
) -> None:
    write_task(folder, **changes)
    with pytest.raises(error, match=message) as caught:
        prepare(folder, tmp_path / "cache", **run)
    assert "\n" not in str(caught.value)


def test_unknown_names_get_the_nearest(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown task 'sumz-of-two'.*sums"):
        config = TasksConfig.model_validate({"task_path": str(folder), "run": [{"task": "sumz-of-two"}]})
        prepare_tasks(config, cache=tmp_path, seed=0, maximum_bad_share=0.1)
    with pytest.raises(InputError, match="not a folder"):
        prepare(folder / "nowhere", tmp_path)


def test_broken_task_files_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "sums.yaml").write_text("task: sums\n  indented: wrongly\n")
    with pytest.raises(InputError, match=r"sums\.yaml' is not a valid task file.*line 2") as caught:
        prepare(folder, tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_groups_become_their_tasks_and_neighbours_do_not_matter(folder: Path, tmp_path: Path) -> None:
    write_task(folder, "other")
    write_task(folder, "broken", dataset_kwargs={"data_files": {"test": "gone.jsonl"}})
    assert len(prepare(folder, tmp_path / "cache")) == 1
    (folder / "broken.yaml").unlink()
    (folder / "both.yaml").write_text(json.dumps({"group": "both", "task": ["sums", "other"]}))
    config = TasksConfig.model_validate({"task_path": str(folder), "run": [{"task": "both"}]})
    prepared = prepare_tasks(config, cache=tmp_path / "cache", seed=0, maximum_bad_share=0.1)
    assert sorted(task.name for task in prepared) == ["other", "sums"]
    twice = TasksConfig.model_validate({"task_path": str(folder), "run": [{"task": "both"}, {"task": "sums"}]})
    with pytest.raises(ConfigError, match="'sums' is asked for twice"):
        prepare_tasks(twice, cache=tmp_path / "cache", seed=0, maximum_bad_share=0.1)


def test_few_shot_examples_never_hold_the_scored_item(folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    write_task(folder, fewshot_split="test")
    tasks = prepare(folder, tmp_path / "cache", num_fewshot=3)
    result = run_tasks(loaded, tasks, seed=0, batch_size=8)
    items = result.items["items/sums.jsonl"]
    for item in items:
        *shots, question = item["prompt"].split("\n\n")
        assert len(shots) == 3
        assert not any(shot.startswith(question) for shot in shots)
    again = run_tasks(loaded, tasks, seed=0, batch_size=8).items["items/sums.jsonl"]
    assert [item["prompt_hash"] for item in again] == [item["prompt_hash"] for item in items]


def test_documents_without_a_field_are_left_out(folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    rows = [{"question": f"{i}+1=", "answer": str(i + 1)} for i in range(12)]
    del rows[3]["question"]
    write_data(folder, rows)
    tasks = prepare(folder, tmp_path / "cache")
    result = run_tasks(loaded, tasks, seed=0, batch_size=8)
    assert result.skipped == {"sums": 1}
    assert [item["id"] for item in result.items["items/sums.jsonl"]] == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert not any("None" in item["prompt"] for item in result.items["items/sums.jsonl"])
    del rows[7]["answer"]
    write_data(folder, rows)
    with pytest.raises(StageError, match="2 of 12 documents"):
        prepare(folder, tmp_path / "cache2")


def test_a_limit_is_spread_over_the_data(folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    result = run_tasks(loaded, prepare(folder, tmp_path / "cache", limit=4), seed=0, batch_size=8)
    assert [item["id"] for item in result.items["items/sums.jsonl"]] == [0, 3, 6, 9]
    assert result.scores[0].n == 4


def test_clusters_reach_the_interval(folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    tasks = prepare(folder, tmp_path / "cache", cluster_by="kind")
    result = run_tasks(loaded, tasks, seed=0, batch_size=8)
    assert result.scores[0].method == "clustered t"
    assert {item["cluster"] for item in result.items["items/sums.jsonl"]} == {"a", "b"}
    with pytest.raises(ConfigError, match=r"cluster_by 'sort'.*known: answer, kind, question"):
        run_tasks(loaded, prepare(folder, tmp_path / "cache", cluster_by="sort"), seed=0, batch_size=8)


def test_empty_data_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "sums.jsonl").write_text("")
    with pytest.raises(InputError, match=r"no rows in split 'test': .*sums\.jsonl"):
        prepare(folder, tmp_path / "cache")
    (folder / "sums.jsonl").write_text('{"question": "1", "answer": "1"}\n{broken\n')
    with pytest.raises(InputError, match=r"sums\.jsonl', line 2: not JSON"):
        prepare(folder, tmp_path / "cache")


def test_other_formats_go_through_datasets(folder: Path, tmp_path: Path) -> None:
    (folder / "sums.csv").write_text("question,answer\n1+1=,2\n2+1=,3\n")
    write_task(folder, dataset_path="csv", dataset_kwargs={"data_files": {"test": ["sums.csv"]}})
    (task,) = prepare(folder, tmp_path / "cache")
    assert task.task.eval_docs["question"][:] == ["1+1=", "2+1="]
    assert (tmp_path / "cache").is_dir()


def test_files_of_unlike_columns_are_joined(folder: Path, tmp_path: Path) -> None:
    (folder / "more.jsonl").write_text('{"question": "5+5=", "answer": "10", "source": "x"}\n')
    write_task(folder, dataset_kwargs={"data_files": {"test": "*.jsonl"}})
    (task,) = prepare(folder, tmp_path / "cache")
    assert len(task.task.eval_docs) == 13
    assert set(task.task.eval_docs.column_names) == {"question", "answer", "kind", "source"}


def test_corpus_level_metrics_get_a_bootstrap_interval(folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    write_task(
        folder,
        metric_list=[
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
            {"metric": "chrf", "aggregation": "chrf", "higher_is_better": True},
        ],
    )
    result = run_tasks(loaded, prepare(folder, tmp_path / "cache"), seed=0, batch_size=8)
    chrf = next(score for score in result.scores if score.metric == "chrf")
    assert chrf.method == "percentile bootstrap" and chrf.n == 12
    assert all("chrf" not in item["scores"] for item in result.items["items/sums.jsonl"])


def test_every_filter_has_its_score(folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    first = {"function": "take_first"}
    write_task(
        folder,
        filter_list=[
            {"name": "strict", "filter": [{"function": "regex", "regex_pattern": r"^(\d+)$"}, first]},
            {"name": "flexible", "filter": [{"function": "regex", "regex_pattern": r"(\d+)"}, first]},
        ],
    )
    (task,) = tasks = prepare(folder, tmp_path / "cache")
    result = run_tasks(loaded, tasks, seed=0, batch_size=8)
    assert [score.metric for score in result.scores] == ["exact_match,strict", "exact_match,flexible"]
    assert len(result.items["items/sums.jsonl"]) == 12
    assert task.metric_labels() == [score.metric for score in result.scores]
    write_task(folder, filter_list=[{"name": "answer", "filter": [first]}])
    (only,) = prepare(folder, tmp_path / "cache")
    assert only.metric_labels() == ["exact_match"]  # a single filter needs no mention
