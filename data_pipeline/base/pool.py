"""Independent pieces of work in several processes that never outlive their parent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
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
    pool = ProcessPoolExecutor(workers, get_context("spawn"), die_with_parent, (os.getpid(),))
    try:
        for future in [pool.submit(function, *task) for task in tasks]:
            future.result()
            yield
    except BrokenProcessPool:
        raise StageError(
            f"{title}: a worker process was killed (out of memory?); finished shards are kept: start the same command "
            f"again, with fewer than workers={workers} if memory ran out"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
