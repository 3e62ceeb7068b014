"""Where the tasks of a build run."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config

_CLUSTER = ("slurm", "ray")
_ONLY: dict[str, tuple[str, ...]] = {
    "partition": ("slurm",),
    "time": ("slurm",),
    "qos": ("slurm",),
    "sbatch": ("slurm",),
    "environment": ("slurm",),
    "files_per_job": ("slurm",),
    "max_array_size": ("slurm",),
    "wait": ("slurm",),
    "finish_memory_gb": ("slurm",),
    "poll_seconds": ("slurm",),
    "address": ("ray",),
    "retries": ("ray",),
    "cpus_per_task": _CLUSTER,
    "memory_per_cpu_gb": _CLUSTER,
}


class ExecutorConfig(Config):
    """Runs one task per input file: in local processes, as jobs of a Slurm array, or as Ray tasks. The result never
    depends on it, so an interrupted build may go on with another. For `slurm` and `ray` the output, the inputs and this
    Python environment must be reachable from every node under the same paths."""

    kind: Literal["local", "slurm", "ray"] = "local"
    """`local`: processes of this machine. `slurm`: a job array, submitted with sbatch. `ray`: a Ray cluster."""
    cpus_per_task: int = Field(default=1, ge=1)
    """slurm, ray: CPUs reserved for each task; more than one only to be given more memory."""
    memory_per_cpu_gb: int = Field(default=2, ge=1)
    """slurm, ray: memory reserved for each CPU, in GiB."""
    partition: str | None = None
    """slurm: the partition; required."""
    time: str = "12:00:00"
    """slurm: time limit of one job."""
    qos: str | None = None
    """slurm: quality of service; null leaves it to the cluster."""
    sbatch: dict[str, str] = {}
    """slurm: more sbatch options by their long names, such as `account: nlp`."""
    environment: str = ""
    """slurm: shell commands that come first in each job, such as `module load gcc`. This Python's folder is on PATH
    and the present environment variables are handed over without them."""
    files_per_job: int = Field(default=1, ge=1)
    """slurm: files that one job of the array reads, one after the other; saves start-up time where files are small."""
    max_array_size: int = Field(default=1001, ge=1)
    """slurm: the cluster's MaxArraySize; more jobs than that become several arrays, one after the other."""
    wait: bool = True
    """slurm: wait for the jobs and finish the corpus in this process. False: submit them and a last job that finishes
    the corpus, and return at once."""
    finish_memory_gb: int = Field(default=16, ge=1)
    """slurm: memory of that last job, in GiB."""
    poll_seconds: float = Field(default=10.0, gt=0)
    """slurm: how often to look whether the jobs are done."""
    address: str | None = None
    """ray: the cluster's address, such as `auto` or `ray://head:10001`; null starts Ray on this machine."""
    retries: int = Field(default=2, ge=0)
    """ray: how often a task is started again whose worker process or node died."""

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        for name in sorted(self.model_fields_set):
            kinds = _ONLY.get(name)
            if kinds and self.kind not in kinds and getattr(self, name) != _default(name):
                raise ValueError(f"{name} is for kind {' and '.join(kinds)}, not {self.kind}; remove it or set kind")
        if self.kind == "slurm" and not self.partition:
            raise ValueError("kind slurm needs a partition; `sinfo` lists them")
        return self


def _default(name: str) -> Any:
    return ExecutorConfig.model_fields[name].get_default(call_default_factory=True)  # type: ignore[call-arg]
