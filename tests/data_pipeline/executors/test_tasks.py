"""What all executors share, on pipelines of one small step: markers, errors, progress."""

from __future__ import annotations

import json
from collections.abc import Iterator
from multiprocessing import Value
from pathlib import Path

import pytest
from datatrove.pipeline.base import PipelineStep

from data_pipeline.base import progress
from data_pipeline.executors import ExecutorConfig, run_tasks
from data_pipeline.executors.local import SafeLocalExecutor
from data_pipeline.executors.tasks import Tasks, byte_unit, disk_errors, usage_file
from millbase.errors import InputError, StageError


class Writer(PipelineStep):
    """Writes its rank, and how many tasks this object has run, into one file a task."""

    name = "writer"
    type = "test"

    def __init__(self, folder: Path, error: Exception | None = None, fails: int = -1) -> None:
        super().__init__()
        self.folder, self.error, self.fails, self.calls = folder, error, fails, 0

    def run(self, data: object, rank: int = 0, world_size: int = 1) -> Iterator[None]:
        self.calls += 1
        if rank == self.fails and self.error is not None:
            raise self.error
        (self.folder / f"{rank:05d}.txt").write_text(f"{rank} {self.calls}")
        yield from ()


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    (tmp_path / "out").mkdir()
    names = [f"file{rank}" for rank in range(4)]
    return Tasks(names, [10, 40, 20, 30], outputs=tmp_path / "out", logs=tmp_path / "logs")


def run(tasks: Tasks, step: PipelineStep, resumed: bool = True) -> None:
    run_tasks([step], tasks, ExecutorConfig(), workers=1, title="test", resumed=resumed)


def test_each_task_starts_with_fresh_steps(tasks: Tasks) -> None:
    run(tasks, Writer(tasks.outputs))
    assert [file.read_text() for file in tasks.files(2)] == ["2 1"]
    assert json.loads((tasks.logs / "completions/00002").read_text())["00002.txt"][0] == 3
    usage = json.loads(usage_file(tasks.logs, 2).read_text())
    assert usage["bytes"] == 20 and usage["peak_rss_bytes"] > 10 << 20 and usage["cpu_seconds"] >= 0


def test_finished_tasks_are_not_redone_unless_their_files_changed(tasks: Tasks) -> None:
    run(tasks, Writer(tasks.outputs))
    times = {file.name: file.stat().st_mtime_ns for file in tasks.outputs.iterdir()}
    (tasks.outputs / "00001.txt").write_text("1 7")  # of the same size: only the digest tells
    run(tasks, Writer(tasks.outputs), resumed=False)
    assert (tasks.outputs / "00001.txt").read_text() == "1 7"
    run(tasks, Writer(tasks.outputs))
    assert (tasks.outputs / "00001.txt").read_text() == "1 1"
    (tasks.outputs / "00003.txt").unlink()
    run(tasks, Writer(tasks.outputs), resumed=False)
    now = {file.name: file.stat().st_mtime_ns for file in tasks.outputs.iterdir()}
    assert {name for name in now if now[name] != times[name]} == {"00001.txt", "00003.txt"}


def test_errors_stay_beside_the_markers_for_those_who_wait_elsewhere(tasks: Tasks) -> None:
    with pytest.raises(InputError, match="file3 is cut"):
        run(tasks, Writer(tasks.outputs, InputError("file3 is cut"), fails=3))
    executor = SafeLocalExecutor([Writer(tasks.outputs)], tasks, 1, "test")
    left = executor.get_incomplete_ranks()
    assert 3 in left
    with pytest.raises(InputError, match="file3 is cut"):
        executor.raise_unfinished(left, "logs")
    with pytest.raises(ZeroDivisionError):
        run(tasks, Writer(tasks.outputs, ZeroDivisionError("by zero"), fails=3))
    with pytest.raises(
        StageError, match=r"1 of 4 tasks failed, the first on 'file3': ZeroDivisionError: by zero; logs: L"
    ):
        executor.raise_unfinished([3], "L")
    run(tasks, Writer(tasks.outputs))
    executor.raise_unfinished(executor.get_incomplete_ranks(), "logs")  # nothing to raise
    with pytest.raises(StageError, match="left no error"):
        executor.raise_unfinished([3], "logs")


def test_progress_moves_within_a_file_and_never_past_it() -> None:
    counters = progress.Counters(Value("q", 0), Value("q", 0))
    shown: list[int] = []
    progress.share_counters(counters, lambda: shown.append(counters.bytes.value))
    try:
        seen = []
        for size, positions in ((100, (30, 20, 500)), (50, (10,)), (7, ())):
            progress.start_task(size)
            for position in positions:
                progress.reached(position)
                progress.count_pages(1)
                seen.append(counters.bytes.value)
            progress.end_task()
        assert seen == [30, 30, 100, 110] and counters.bytes.value == 157 and counters.pages.value == 4
        assert shown
    finally:
        progress.share_counters(None)


def test_every_build_of_a_process_shows_its_progress() -> None:
    for _ in range(2):  # the second within the half second that has to pass between two showings of one build
        shown: list[bool] = []
        progress.share_counters(progress.Counters(Value("q", 0), Value("q", 0)), lambda shown=shown: shown.append(True))
        try:
            progress.count_pages(1)
        finally:
            progress.share_counters(None)
        assert shown


def test_units_and_other_errors() -> None:
    assert byte_unit(5_000) == (1e3, "kB") and byte_unit(20_000_000) == (1e6, "MB")
    with pytest.raises(PermissionError), disk_errors("test"):
        raise PermissionError(13, "no")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "main"}, "partition is for kind slurm, not local"),
        ({"kind": "ray", "files_per_job": 3}, "files_per_job is for kind slurm, not ray"),
        ({"kind": "slurm"}, "needs a partition"),
    ],
)
def test_settings_of_another_kind_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExecutorConfig.model_validate(settings)
    assert ExecutorConfig.model_validate(ExecutorConfig().model_dump()) == ExecutorConfig()
