"""datatrove's Ray executor with a scheduler that notices failures.

The original returns normally when a task failed, and waits for ever when the process of a task is killed, for it runs
each in a pool inside an actor. Here each task is a Ray task of its own. Pipelines, completion markers and logs are
datatrove's.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datatrove.executor import RayPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from data_pipeline.executors.config import ExecutorConfig
from data_pipeline.executors.local import ONE_THREAD
from data_pipeline.executors.tasks import CheckedTasks, Tasks, byte_unit
from millbase.errors import ConfigError, StageError, UserError
from millbase.log import get_logger
from millbase.process import available_cores
from millbase.progress import Bar, progress

logger = get_logger(__name__)
_POLL_SECONDS = 1.0


class CheckedRayExecutor(CheckedTasks, RayPipelineExecutor):
    """Runs each task as a Ray task on the cluster at `config.address`, or on this machine."""

    def __init__(
        self, pipeline: Sequence[PipelineStep], tasks: Tasks, workers: int, config: ExecutorConfig, title: str
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("executor.kind=ray needs the package ray; run `pip install 'llmill[ray]'`")
        super().__init__(
            list(pipeline),
            tasks=len(tasks.names),
            workers=workers or -1,
            logging_dir=str(tasks.logs),
            cpus_per_task=config.cpus_per_task,
            mem_per_cpu_gb=config.memory_per_cpu_gb,
        )
        self.checked, self.title, self.config = tasks, title, config
        self._scale = 1e6

    def run(self) -> None:
        """Run all unfinished tasks. Raises StageError when tasks did not finish, and whatever UserError one raised."""
        sizes = self.checked.sizes
        ranks = sorted(self.get_incomplete_ranks(), key=lambda rank: (-sizes[rank], rank))
        if not ranks:
            return
        with self._cluster() as ray:
            self._check_room(ray)
            total = sum(sizes[rank] for rank in ranks)
            self._scale, unit = byte_unit(total)
            with progress(self.title, total=total / self._scale, unit=unit) as bar:
                self._run_tasks(ray, ranks, bar)
        self.raise_unfinished(self.get_incomplete_ranks(), str(self.checked.logs / "logs"))

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        import ray

        if ray.is_initialized():
            yield ray
            return
        package = str(Path(__file__).resolve().parent.parent.parent)
        variables = {**ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
        options: dict[str, Any] = {"log_to_driver": False, "runtime_env": {"env_vars": variables}}
        if self.config.address is None:
            options |= {"num_cpus": available_cores(), "include_dashboard": False}
        try:
            ray.init(address=self.config.address, logging_level=logging.ERROR, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise StageError(
                f"{self.title}: no Ray cluster at executor.address={self.config.address!r}: "
                f"{str(error).splitlines()[0]}; start one with `ray start --head`, or set the address to null"
            ) from None
        try:
            yield ray
        finally:
            ray.shutdown()

    def _check_room(self, ray: Any) -> None:
        """A task that fits on no node would wait for ever."""
        need_cpus, need_memory = self.cpus_per_task, self.mem_per_cpu_gb * self.cpus_per_task
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(n.get("CPU", 0) >= need_cpus and n.get("memory", 0) >= need_memory * 2**30 for n in nodes):
            largest = max((n.get("memory", 0) / 2**30 for n in nodes), default=0)
            raise StageError(
                f"{self.title}: no Ray node has {need_cpus} CPUs and {need_memory} GiB free for one task (the largest "
                f"has {largest:.1f} GiB); lower executor.cpus_per_task or executor.memory_per_cpu_gb"
            )

    def _run_tasks(self, ray: Any, ranks: list[int], bar: Bar) -> None:
        task = ray.remote(_run_rank).options(
            num_cpus=self.cpus_per_task,
            memory=int(self.mem_per_cpu_gb * self.cpus_per_task * 2**30),
            max_retries=self.config.retries,
        )
        executor = ray.put(self)
        queue, running = list(reversed(ranks)), dict[Any, int]()
        failed = 0
        while queue or running:
            while queue and len(running) < self.workers and not failed:
                rank = queue.pop()
                running[task.remote(executor, rank)] = rank
            if not running:
                return  # a task failed: the running ones were let finish, the rest is not begun
            done, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
            for reference in done:
                rank = running.pop(reference)
                try:
                    ray.get(reference)
                except (UserError, ray.exceptions.RayError) as error:
                    failed += 1
                    logger.debug("task %d failed: %s", rank, error)
                bar.advance(self.checked.sizes[rank] / self._scale)
            bar.note(f"{len(running)} running, {len(queue)} waiting")


def _run_rank(executor: CheckedRayExecutor, rank: int) -> None:
    executor._run_for_rank(rank)
