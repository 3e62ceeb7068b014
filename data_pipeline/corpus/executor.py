"""datatrove's local executor, made safe to kill.

The original waits for ever when a worker dies, leaves workers running when the parent dies, and prints a traceback for
every error a user caused. Pipelines, completion markers and task logs are datatrove's.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from data_pipeline.base.progress import share_counter
from millbase.errors import StageError
from millbase.process import available_cores, die_with_parent
from millbase.progress import Bar, progress

_POLL_SECONDS = 0.5


class SafeLocalExecutor(LocalPipelineExecutor):
    """Runs one pipeline for each of `sizes` tasks; finished tasks of an earlier run are not redone.

    `sizes` are the bytes that each task reads: large tasks start first, and progress is counted in them. `workers` is
    the number of processes; 0 takes one for each core.
    """

    def __init__(
        self, pipeline: Sequence[PipelineStep], sizes: Sequence[int], workers: int, logging_dir: Path, title: str
    ) -> None:
        tasks = len(sizes)
        workers = min(workers or available_cores(), tasks)
        self.pipeline: list[PipelineStep]
        super().__init__(list(pipeline), tasks=tasks, workers=workers, logging_dir=str(logging_dir))
        self.sizes, self.title = list(sizes), title
        self._scale = 1e6

    def run(self) -> None:  # type: ignore[override]
        """Run all unfinished tasks. Raises StageError when a worker dies, and whatever UserError a task raises."""
        ranks = sorted(self.get_incomplete_ranks(), key=lambda rank: (-self.sizes[rank], rank))
        if not ranks:
            return
        total = sum(self.sizes[rank] for rank in ranks)
        self._scale, unit = (1e6, "MB") if total > 1e7 else (1e3, "kB")
        with progress(self.title, total=total / self._scale, unit=unit) as bar:
            if self.workers == 1:
                self._run_here(ranks, bar)
            else:
                self._run_in_processes(ranks, bar)

    def _run_here(self, ranks: list[int], bar: Bar) -> None:
        counter = multiprocessing.Value("q", 0)
        share_counter(counter)
        pipeline = self.pipeline
        try:
            for rank in ranks:
                self.pipeline = deepcopy(pipeline)
                self.run_rank(rank)
                self._advance(bar, rank, counter)
        finally:
            self.pipeline = pipeline
            share_counter(None)

    def _run_in_processes(self, ranks: list[int], bar: Bar) -> None:
        context = multiprocessing.get_context("spawn")  # forking a process with threads may deadlock
        counter = context.Value("q", 0)
        with one_thread_each():
            pool = ProcessPoolExecutor(self.workers, context, _start_worker, (os.getpid(), counter))
            try:
                futures = {pool.submit(self.run_rank, rank): rank for rank in ranks}
                for future in self._as_completed(futures, bar, counter):
                    future.result()
                    self._advance(bar, futures[future], counter)
            except BrokenProcessPool:
                raise StageError(
                    f"{self.title}: a worker process was killed (out of memory?); finished files are kept: start the "
                    f"same command again, with fewer than workers={self.workers} if memory ran out"
                ) from None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _as_completed(
        self, futures: dict[Future[None], int], bar: Bar, counter: Synchronized[int]
    ) -> Iterator[Future[None]]:
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            bar.note(f"{counter.value:,} pages")
            bar.advance(0)
            yield from done

    def _advance(self, bar: Bar, rank: int, counter: Synchronized[int]) -> None:
        bar.note(f"{counter.value:,} pages")
        bar.advance(self.sizes[rank] / self._scale)

    def run_rank(self, rank: int) -> None:
        """Run one task in this process."""
        # datatrove logs to stderr what also stands in the task's log file; errors reach the user through the exception.
        with contextlib.redirect_stderr(io.StringIO()):
            self._run_for_rank(rank, local_rank=1)


def _start_worker(parent: int, counter: Synchronized[int]) -> None:
    die_with_parent(parent)
    share_counter(counter)


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Start child processes with single-threaded numeric libraries: the processes are the parallelism."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
