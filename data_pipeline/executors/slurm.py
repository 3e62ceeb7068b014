"""datatrove's Slurm executor: submits the unfinished tasks as a job array, waits, and says what did not finish.

The original returns once the jobs are submitted, and adds a job that merges statistics and stays in the queue for ever
when a task fails. Script, array, pickled pipeline and completion markers are datatrove's.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from datatrove.executor import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from data_pipeline.executors.config import ExecutorConfig
from data_pipeline.executors.local import ONE_THREAD
from data_pipeline.executors.tasks import CheckedTasks, Tasks, byte_unit
from millbase.atomic import write_json
from millbase.errors import StageError, Submitted
from millbase.log import get_logger
from millbase.progress import Bar, progress

logger = get_logger(__name__)
_JOBS = "slurm_jobs.json"
_SILENT_POLLS = 30


class WaitingSlurmExecutor(CheckedTasks, SlurmPipelineExecutor):
    """Runs each task in a job array. `execute` is called where the build runs, `run` by each job.

    A build that is interrupted while it waits leaves its jobs running; the next one finds and waits for them.
    """

    def __init__(
        self, pipeline: Sequence[PipelineStep], tasks: Tasks, workers: int, config: ExecutorConfig, title: str
    ) -> None:
        assert config.partition is not None, "ExecutorConfig requires it"
        super().__init__(
            list(pipeline),
            tasks=len(tasks.names),
            workers=workers or -1,
            time=config.time,
            partition=config.partition,
            cpus_per_task=config.cpus_per_task,
            mem_per_cpu_gb=config.memory_per_cpu_gb,
            job_name=title,
            qos=config.qos or "",
            env_command=environment(config),
            sbatch_args=dict(config.sbatch),
            max_array_size=config.max_array_size,
            tasks_per_job=config.files_per_job,
            logging_dir=str(tasks.logs),
            job_id_retriever=_job_id,
        )
        self.checked, self.title, self.config = tasks, title, config
        self._scale = 1e6

    def execute(self, finish: Sequence[str] | None) -> None:
        """Run all unfinished tasks as jobs and wait for them; with `finish`, a command, submit it as a job that depends
        on them, and raise Submitted instead of waiting.

        Raises StageError when Slurm refuses or tasks did not finish, and whatever UserError a task raised.
        """
        running = self._active(self._recorded_jobs())
        if running:
            logger.info("%s: jobs %s of an earlier start are in the queue; waiting", self.title, " ".join(running))
            self._wait(running)
        if not self.get_incomplete_ranks():
            return
        jobs = self._submit()
        if finish is not None:
            last = self._submit_finish(jobs, finish)
            raise Submitted(
                f"{self.title}: submitted {len(self.get_incomplete_ranks())} tasks as job {' '.join(jobs)} and job "
                f"{last}, which finishes the corpus; `squeue` shows them, logs: {self._log_folder()}"
            )
        logger.info("%s: submitted as job %s; logs: %s", self.title, " ".join(jobs), self._log_folder())
        self._wait(jobs)
        self.raise_unfinished(self.get_incomplete_ranks(), self._log_folder())

    def launch_merge_stats(self) -> None:
        """Nothing: the build counts for itself."""

    def _submit(self) -> list[str]:
        from loguru import logger as datatrove_logger

        datatrove_logger.disable("datatrove")  # what it says is said here
        self._recorded().unlink(missing_ok=True)
        before = os.environ.get(_IDS)
        os.environ[_IDS] = str(self._recorded())
        try:
            self.launch_job()
        except FileNotFoundError as error:
            raise StageError(
                f"{self.title}: the command {error.filename!r} is not here; start the build on a machine that submits "
                "Slurm jobs, or set executor.kind=local"
            ) from None
        except subprocess.CalledProcessError as error:
            raise StageError(
                f"{self.title}: sbatch refused the job (its message stands above; exit status {error.returncode}); "
                f"check executor.partition={self.config.partition}, executor.time and executor.sbatch"
            ) from None
        finally:
            datatrove_logger.enable("datatrove")
            os.environ.pop(_IDS) if before is None else os.environ.update({_IDS: before})
        return self._recorded_jobs()

    def _submit_finish(self, jobs: list[str], command: Sequence[str]) -> str:
        arguments = self.get_sbatch_args()
        for name in ("array", "requeue", "mem-per-cpu"):
            arguments.pop(name, None)
        log = f"{self._log_folder()}/finish_%j.out"
        arguments |= {"cpus-per-task": 1, "mem": f"{self.config.finish_memory_gb}G", "output": log, "error": log}
        arguments |= {"job-name": f"{self.title}-finish", "kill-on-invalid-dep": "yes"}
        script = self.get_launch_file_contents(arguments, shlex.join(command))
        dependency = f"--dependency=afterok:{':'.join(jobs)}"
        done = subprocess.run(["sbatch", dependency], input=script, capture_output=True, text=True)
        if done.returncode:
            raise StageError(f"{self.title}: sbatch refused the finishing job: {done.stderr.strip()}")
        return done.stdout.split()[-1]

    def _wait(self, jobs: list[str]) -> None:
        sizes = self.checked.sizes
        left = set(self.get_incomplete_ranks())
        total = sum(sizes[rank] for rank in left)
        self._scale, unit = byte_unit(total)
        with progress(self.title, total=total / self._scale, unit=unit) as bar:
            while True:
                states = self._states(jobs)
                left = self._advance(bar, left)
                bar.note(", ".join(f"{count} {state.lower()}" for state, count in sorted(states.items())))
                if not states:
                    return
                time.sleep(self.config.poll_seconds)

    def _advance(self, bar: Bar, left: set[int]) -> set[int]:
        still = set(self.get_incomplete_ranks(sorted(left)))
        bar.advance(sum(self.checked.sizes[rank] for rank in left - still) / self._scale)
        return still

    def _active(self, jobs: list[str]) -> list[str]:
        return jobs if jobs and self._states(jobs) else []

    def _states(self, jobs: list[str]) -> dict[str, int]:
        """state -> number of jobs pending or running. Raises StageError when Slurm does not answer for long."""
        for _ in range(_SILENT_POLLS):
            command = ["squeue", "--noheader", "--array", "--format=%T", f"--jobs={','.join(jobs)}"]
            try:
                done = subprocess.run(command, capture_output=True, text=True)
            except FileNotFoundError:
                return {}
            if done.returncode == 0:
                states = done.stdout.split()
                return {state: states.count(state) for state in set(states)}
            if "Invalid job id" in done.stderr:  # ended so long ago that Slurm forgot it
                return {}
            time.sleep(self.config.poll_seconds)
        raise StageError(
            f"{self.title}: squeue does not answer ({done.stderr.strip()}); the jobs {' '.join(jobs)} go on: start the "
            "same command again to wait for them"
        )

    def _log_folder(self) -> str:
        return str(self.slurm_logs_folder)

    def _recorded(self) -> Path:
        return self.checked.logs / _JOBS

    def _recorded_jobs(self) -> list[str]:
        try:
            jobs: list[str] = json.loads(self._recorded().read_text())
        except (OSError, ValueError):
            return []
        return jobs


_IDS = "LLMILL_SLURM_JOBS"


def _job_id(output: str) -> str:
    """The id in what sbatch printed, added to the list of submitted jobs at once: a build killed between two arrays
    must find the first."""
    job = output.split()[-1]
    path = Path(os.environ[_IDS])
    jobs = json.loads(path.read_text()) if path.is_file() else []
    write_json(path, [*jobs, job])
    return job


def environment(config: ExecutorConfig) -> str:
    """Shell commands that make a job find this Python and this package, whatever the job's working directory."""
    package = Path(__file__).resolve().parent.parent.parent
    lines = [config.environment] if config.environment else []
    lines.append(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    lines.append(f"export PYTHONPATH={shlex.quote(str(package))}${{PYTHONPATH:+:$PYTHONPATH}}")
    lines += [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    return "\n".join(lines)
