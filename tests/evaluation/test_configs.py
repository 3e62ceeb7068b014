"""The shipped configurations are valid, and name what their runs will make."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation import EvaluationConfig
from evaluation.adapter import CheckpointLM
from evaluation.config import TasksConfig
from evaluation.gates import all_gates
from evaluation.task_files import prepare_tasks
from evaluation.tasks import run_tasks
from millbase.config import load_config
from training.load import LoadedModel

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "evaluation"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_configurations_are_valid(file: Path) -> None:
    config = load_config(EvaluationConfig, file)
    names = [gate.name for gate in all_gates(config)]
    assert len(names) == len(set(names))


def test_there_is_one_per_stage_kind() -> None:
    kinds = ("aligned", "base", "chat", "reward")
    assert {f"{recipe}_{kind}" for recipe in ("demo", "real") for kind in kinds} <= {file.stem for file in FILES}


def test_blimp_pairs_run_on_the_real_data(real_data: Path, loaded: LoadedModel, tmp_path: Path) -> None:
    tasks = TasksConfig.model_validate(
        {
            "task_path": str(FOLDER / "tasks"),
            "data_path": str(real_data / "evals"),
            "run": [{"task": "blimp_pairs", "limit": 52, "cluster_by": "UID"}],
        }
    )
    prepared = prepare_tasks(tasks, cache=tmp_path, seed=0, maximum_bad_share=0)
    result = run_tasks(loaded, prepared, seed=0, batch_size=32)
    items = result.items["items/blimp_pairs.jsonl"]
    assert len(items) == 52 and len({item["cluster"] for item in items}) > 20  # spread over the paradigms
    requests = [instance for instance in prepared[0].task.instances if instance.doc_id == 0]
    (good, _), (bad, _) = CheckpointLM(loaded).loglikelihood(requests)
    assert items[0]["scores"]["acc"] == float(good >= bad)
