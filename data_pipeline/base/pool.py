"""Independent pieces of work in several processes that never outlive their parent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from millbase.errors import StageError
from millbase.process import available_cores, die_with_parent


def run_in_processes(
    function: Callable[..., None], tasks: Sequence[tuple[Any, ...]], workers: int, title: str
) -> Iterator[None]:
    """Call `function(*task)` for every task, yielding once for each that is done, in order.

    `workers` processes; 0 takes one for each core. A single one is this process. What a task raises is raised here;
    StageError when a process is killed.
    """
    workers = min(workers or available_cores(), len(tasks))
    if workers <= 1:
        for task in tasks:
            function(*task)
            yield
        return
    with process_pool(workers, title, "shards") as pool:
        for future in [pool.submit(function, *task) for task in tasks]:
            future.result()
            yield


@contextmanager
def process_pool(
    workers: int,
    title: str,
    finished: str,
    start: Callable[..., None] = die_with_parent,
    arguments: tuple[Any, ...] = (),
) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes, each of which calls `start(parent's process id, *arguments)` first.

    Raises StageError when one of them is killed; its message says that finished `finished` are kept.
    """
    context = get_context("spawn")  # forking a process with threads may deadlock
    pool = ProcessPoolExecutor(workers, context, start, (os.getpid(), *arguments))
    try:
        yield pool
    except BrokenProcessPool:
        raise StageError(
            f"{title}: a worker process was killed (out of memory?); finished {finished} are kept: start the same "
            f"command again, with fewer than workers={workers} if memory ran out"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
