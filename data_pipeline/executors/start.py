"""Start the executor that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence

from datatrove.pipeline.base import PipelineStep

from data_pipeline.executors.config import ExecutorConfig
from data_pipeline.executors.local import SafeLocalExecutor
from data_pipeline.executors.tasks import Tasks


def run_tasks(
    pipeline: Sequence[PipelineStep],
    tasks: Tasks,
    config: ExecutorConfig,
    workers: int = 0,
    title: str = "tasks",
    finish: Sequence[str] | None = None,
    resumed: bool = True,
) -> None:
    """Run `pipeline` for every task that is not finished, and return when all are.

    `workers` tasks run at a time (0: as many as there are cores; without limit on a cluster). With `resumed`, the files
    of tasks finished earlier are compared with their digests, and changed ones made again. `finish` is a command that
    completes the build in a job of its own, for `slurm` with `wait: false`; then Submitted is raised.
    Raises StageError when a task did not finish, and whatever UserError a task raised.
    """
    if config.kind == "local":
        local = SafeLocalExecutor(pipeline, tasks, workers, title)
        local.forget_damaged(digests=resumed)
        local.run()
    elif config.kind == "slurm":
        from data_pipeline.executors.slurm import WaitingSlurmExecutor

        slurm = WaitingSlurmExecutor(pipeline, tasks, workers, config, title)
        slurm.forget_damaged(digests=resumed)
        slurm.execute(None if config.wait else finish)
    else:
        from data_pipeline.executors.ray import CheckedRayExecutor

        ray = CheckedRayExecutor(pipeline, tasks, workers, config, title)
        ray.forget_damaged(digests=resumed)
        ray.run()
