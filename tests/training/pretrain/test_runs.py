"""Whole trainings on one rank: guards, rewinds, skips, mixtures that change, saves in the background, full disks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millbase.config import load_config
from training.pretrain import PretrainConfig
from training.pretrain.checkpoint import RunState, complete_checkpoints, step_of

Tiny = Callable[..., dict[str, Any]]


def losses(work: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


ZERO_STAGES = (1, 3, 0, 2, 1, 0)


def zero_stages(base: dict[str, Any]) -> list[dict[str, Any]]:
    """A run whose ZeRO stage changes at each checkpoint, and the same run with stage 1 throughout."""
    scenarios = []
    for dtype in ("float32", "bfloat16"):
        config = base | {"schedule": {"kind": "constant", "warmup_steps": 2}, "dtype": dtype}
        scenarios.append({"name": f"{dtype} whole", "config": config | {"steps": 3 * len(ZERO_STAGES)}})
        for at, zero in enumerate(ZERO_STAGES):
            part = {"steps": 3 * at + 3, "parallel": {"zero": zero}, "checkpoint": {"every_steps": 3}}
            scenarios.append({"name": f"{dtype} {at}", "work": f"{dtype} stages", "config": config | part})
    return scenarios


@pytest.fixture(scope="module")
def runs(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory, new_tokens: Any, toy_tokens_config: Any) -> Any:
    """The folder of all trainings, and what each of them printed, by name."""
    folder = tmp_path_factory.mktemp("runs")
    second = new_tokens(folder / "second", toy_tokens_config(seed=5))
    two = [{"name": "first"}, {"name": "second", "tokens": str(second), "weight": 0}]
    base = tiny(steps=12, checkpoint={"every_steps": 4, "keep": 9}, evaluation={"every_steps": 6, "tokens": 200})
    data = base["data"]
    guard = {"spike": "rewind", "not_finite": "skip", "window": 8, "spike_minimum": 0.5, "rewind_steps": 1}
    raised = [{"from_sequence": 64, "weights": {"second": 1}}]
    scenarios: list[dict[str, Any]] = [
        {"name": "whole", "config": base},
        {"name": "background", "config": base | {"checkpoint": {"every_steps": 2, "asynchronous": True, "keep": 9}}},
        *zero_stages(base),
        {"name": "skipped", "config": base | {"skip_steps": ["5:7"]}},
        {"name": "spike", "config": base | {"guard": guard}, "ruin": {"9": 2.0}},
        {"name": "spike again", "work": "spike", "config": base | {"guard": guard}},
        {"name": "as skipped", "config": base | {"skip_steps": ["8:10"]}},
        {"name": "nan", "config": base | {"guard": {"not_finite": "skip"}}, "ruin": {"3": "nan"}},
        {"name": "three passed over", "config": base | {"skip_steps": ["3:4"]}},
        {"name": "stop", "config": base, "ruin": {"6": "nan"}},
        {"name": "stop again", "work": "stop", "config": base | {"skip_steps": ["6:7"]}},
        {"name": "six passed over", "config": base | {"skip_steps": ["6:7"]}},
        {"name": "full disk", "config": base, "disk": 100_000},
        {"name": "room again", "work": "full disk", "config": base},
        {"name": "mixture", "config": base | {"data": data | {"sources": two, "schedule": raised}}},
        {"name": "weight 0", "work": "weight", "config": base | {"data": data | {"sources": two}}},
        {"name": "weight raised", "work": "weight",
         "config": base | {"data": data | {"sources": two, "schedule": raised}}},
        {"name": "longer", "config": base | {
            "steps": 15, "global_batch_size": 4, "data": data | {"sequence_length": 64},
            "model": base["model"] | {"rope_theta": 50_000}, "checkpoint": {"resume_from": str(folder / "whole")},
        }},
    ]  # fmt: skip
    for scenario in scenarios:
        scenario["work"] = str(folder / scenario.get("work", scenario["name"]))
        load_config(PretrainConfig, scenario["config"])
    file = folder / "scenarios.json"
    file.write_text(json.dumps(scenarios))
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("one_rank.py")), str(file)],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return folder, {line["name"]: line for line in found} | {"log": done.stderr}


def test_saving_in_the_background_changes_nothing_and_keeps_all(runs: Any) -> None:
    folder, found = runs
    assert found["whole"]["error"] is None is found["background"]["error"]
    assert found["whole"]["digest"] == found["background"]["digest"]
    saved = complete_checkpoints(folder / "background" / "scratch" / "checkpoints")
    assert [step_of(directory) for directory in saved] == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("bfloat16", 2e-3)])
def test_a_run_goes_on_with_another_zero_stage(runs: Any, dtype: str, bound: float) -> None:
    folder, found = runs
    assert [found[f"{dtype} {at}"]["error"] for at in range(len(ZERO_STAGES))] == [None] * len(ZERO_STAGES)
    assert [found[f"{dtype} {at}"]["start"] for at in range(len(ZERO_STAGES))] == [0, 3, 6, 9, 12, 15]
    whole, stages = losses(folder / f"{dtype} whole"), losses(folder / f"{dtype} stages")
    assert sorted(whole) == sorted(stages)
    assert max(abs(whole[step] - stages[step]) for step in whole) < bound


def test_skipped_steps_leave_the_others_their_data(runs: Any) -> None:
    folder, found = runs
    whole, skipped = losses(folder / "whole"), losses(folder / "skipped")
    assert sorted(skipped) == [step for step in range(1, 13) if step not in (6, 7)]
    assert all(whole[step] == skipped[step] for step in range(1, 6))
    assert whole[8] != skipped[8]
    state = RunState.read(folder / "skipped" / "scratch" / "checkpoints" / "step_00000012")
    assert state.passed_over == [[5, 7]]
    assert found["skipped"]["digest"] != found["whole"]["digest"]


def test_a_spike_rewinds_and_gives_what_skipping_its_steps_gives(runs: Any) -> None:
    folder, found = runs
    assert found["spike"]["error"] is None
    assert json.loads((folder / "spike" / "scratch" / "rewinds.json").read_text()) == [[8, 10]]
    assert found["spike"]["digest"] == found["as skipped"]["digest"]
    assert losses(folder / "spike") == losses(folder / "as skipped")
    assert "step 9: the loss" in found["log"]
    assert "(documents doc-" in found["log"]
    assert "back to step 8, steps 8 to 9 are passed over" in found["log"]
    # a start after the end finds the same steps passed over
    assert (found["spike again"]["start"], found["spike again"]["digest"]) == (12, found["spike"]["digest"])


def test_a_step_that_is_not_finite_is_dropped(runs: Any) -> None:
    folder, found = runs
    assert found["nan"]["error"] is None
    assert found["nan"]["digest"] == found["three passed over"]["digest"]
    state = RunState.read(folder / "nan" / "scratch" / "checkpoints" / "step_00000012")
    assert state.guard["dropped"] == [3]


def test_a_stopped_run_names_its_documents_and_goes_on_without_them(runs: Any) -> None:
    _, found = runs
    assert found["stop"]["error"].startswith("the loss is nan at step 6 (documents doc-")
    assert "skip_steps '6:7'" in found["stop"]["error"]
    assert found["stop again"]["start"] == 4
    assert found["stop again"]["digest"] == found["six passed over"]["digest"]


def test_a_full_disk_leaves_the_last_good_checkpoint(runs: Any) -> None:
    folder, found = runs
    assert "the checkpoint of step 4 could not be written" in found["full disk"]["error"]
    assert "free disk space" in found["full disk"]["error"]
    assert found["room again"]["error"] is None
    assert found["room again"]["digest"] == found["whole"]["digest"]
    assert not list((folder / "full disk" / "scratch" / "checkpoints").glob(".*"))


def test_a_stage_of_longer_sequences_goes_on_in_the_data(runs: Any) -> None:
    folder, found = runs
    assert (found["longer"]["start"], found["longer"]["error"]) == (12, None)
    state = RunState.read(folder / "longer" / "scratch" / "checkpoints" / "step_00000015")
    assert state.history == [{"steps": 12, "sequences": 96, "sequence_length": 32}]
    assert state.sequences == 96 + 3 * 4
    digest = next(iter(state.order[0][2]))
    assert state.order == [[0, 32, {digest: 1}], [96, 64, {digest: 1}]]


def test_a_weight_raised_ahead_changes_a_finished_part_nowhere(runs: Any) -> None:
    folder, found = runs
    whole, mixed = losses(folder / "whole"), losses(folder / "mixture")
    assert all(whole[step] == mixed[step] for step in range(1, 9)), "weight 0, up to sequence 64"
    assert whole[12] != mixed[12]
    assert found["weight raised"]["start"] == 8, "back to the last checkpoint before the change"
    assert found["weight raised"]["digest"] == found["mixture"]["digest"]
    lines = [json.loads(line) for line in (folder / "mixture" / "metrics.jsonl").read_text().splitlines()]
    last = next(line for line in reversed(lines) if "val_loss" in line)
    assert {"val_loss/first", "val_loss/second", "bits_per_byte/second"} <= last.keys()
    assert last["val_loss/first"] == last["val_loss"]
    step = next(line for line in lines if "loss" in line)
    assert step["mfu"] > 0 < step["tflops"]
    assert step["memory_gib"] > 0
