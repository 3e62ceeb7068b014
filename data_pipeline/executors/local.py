"""datatrove's local executor, made safe to kill.

The original waits for ever when a worker dies, leaves workers running when the parent dies, and prints a traceback for
every error a user caused. Pipelines, completion markers and task logs are datatrove's.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from importlib.abc import MetaPathFinder
from typing import Any

import pyarrow as pa
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from data_pipeline.base.pool import process_pool
from data_pipeline.base.progress import Counters, share_counters
from data_pipeline.executors.tasks import CheckedTasks, Tasks, byte_unit
from millbase.process import available_cores, die_with_parent
from millbase.progress import Bar, progress

_POLL_SECONDS = 0.5


class SafeLocalExecutor(CheckedTasks, LocalPipelineExecutor):
    """Runs one pipeline for each task in `workers` processes (0: one for each core); finished tasks are not redone."""

    def __init__(self, pipeline: Sequence[PipelineStep], tasks: Tasks, workers: int, title: str) -> None:
        count = len(tasks.names)
        workers = min(workers or available_cores(), count)
        self.pipeline: list[PipelineStep]
        super().__init__(list(pipeline), tasks=count, workers=workers, logging_dir=str(tasks.logs))
        self.checked, self.title = tasks, title
        self._scale = 1e6
        self._shown = 0

    def run(self) -> None:  # type: ignore[override]
        """Run all unfinished tasks. Raises StageError when a worker dies, and whatever UserError a task raises."""
        sizes = self.checked.sizes
        ranks = sorted(self.get_incomplete_ranks(), key=lambda rank: (-sizes[rank], rank))
        if not ranks:
            return
        total = sum(sizes[rank] for rank in ranks)
        self._scale, unit = byte_unit(total)
        self._shown = 0
        with progress(self.title, total=total / self._scale, unit=unit) as bar:
            if self.workers == 1:
                self._run_here(ranks, bar)
            else:
                self._run_in_processes(ranks, bar)

    def _run_here(self, ranks: list[int], bar: Bar) -> None:
        counters = _new_counters(multiprocessing)
        share_counters(counters, lambda: self._show(bar, counters))
        try:
            for rank in ranks:
                self.run_rank(rank)
                self._show(bar, counters)
        finally:
            share_counters(None)

    def _run_in_processes(self, ranks: list[int], bar: Bar) -> None:
        counters = _new_counters(multiprocessing.get_context("spawn"))
        with one_thread_each(), process_pool(self.workers, self.title, "files", _start_worker, (counters,)) as pool:
            futures = {pool.submit(self.run_rank, rank): rank for rank in ranks}
            for future in self._as_completed(futures, bar, counters):
                future.result()

    def _as_completed(self, futures: dict[Future[None], int], bar: Bar, counters: Counters) -> Iterator[Future[None]]:
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            self._show(bar, counters)
            yield from done

    def _show(self, bar: Bar, counters: Counters) -> None:
        bar.note(f"{counters.pages.value:,} pages")
        reached = counters.bytes.value
        bar.advance((reached - self._shown) / self._scale)
        self._shown = reached

    def run_rank(self, rank: int) -> None:
        """Run one task in this process."""
        self._run_for_rank(rank)


def _new_counters(context: Any) -> Counters:
    return Counters(pages=context.Value("q", 0), bytes=context.Value("q", 0))


def _start_worker(parent: int, counters: Counters) -> None:
    die_with_parent(parent)
    share_counters(counters)
    _leave_pandas_out()


class _NoPandas(MetaPathFinder):
    """Finds no pandas."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out of workers")


def _leave_pandas_out() -> None:
    """pyarrow imports pandas, if it is there, when it makes its first array: a fifth of a second and 40 MB for nothing.
    It looks for it once; for processes of our own only, whose tables nobody turns into data frames."""
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    pa.array([0])
    sys.meta_path.remove(finder)


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
"""Environment of workers: the processes are the parallelism."""


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Start child processes with single-threaded numeric libraries."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
