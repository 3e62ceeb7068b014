"""Runs the tasks of a pipeline: in processes of this machine, as a Slurm array, or on Ray.

All three are datatrove's executors with the same additions (`tasks.py`): a task counts as done only while its files are
as it left them, errors a user can mend come back as one line, and a task that did not finish is never passed over.
"""

from data_pipeline.executors.config import ExecutorConfig
from data_pipeline.executors.start import run_tasks

__all__ = ["ExecutorConfig", "run_tasks"]
