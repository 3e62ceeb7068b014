"""Configuration of how the ranks of a run are started. The result never depends on it."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from millbase.config import Config

_TIME = re.compile(r"(\d+-\d+(:\d+){0,2}|\d+(:\d+){0,2}|UNLIMITED|INFINITE)", re.IGNORECASE)
_SET_ELSEWHERE = {
    "partition": "launcher.partition",
    "account": "launcher.account",
    "qos": "launcher.qos",
    "time": "launcher.time",
    "nodes": "launcher.nodes",
    "gpus-per-node": "launcher.gpus_per_node",
    "cpus-per-task": "launcher.cpus_per_node",
    "mem": "launcher.memory",
    "signal": "launcher.signal_seconds",
    "requeue": "launcher.requeue",
    "no-requeue": "launcher.requeue",
    "output": "launcher.logs",
    "error": "launcher.logs",
}


class LauncherConfig(Config):
    """Starts the ranks with torchrun: on this machine, on several (the same command on each), or in a Slurm job. With
    several machines, tokens, output and this Python environment must lie under the same paths on all of them."""

    kind: Literal["local", "slurm"] = "local"
    """`local`: processes of this machine, or with `nodes` of those on which the command is started. `slurm`: a batch
    job, written beside the output and submitted with sbatch."""
    nodes: int = Field(default=1, gt=0)
    """Machines; the ranks are shared out evenly."""
    node_rank: int = Field(default=0, ge=0)
    """local, nodes > 1: which machine this is; 0 is the one that writes the artifact."""
    rendezvous: str | None = None
    """local, nodes > 1: `HOST:PORT` of machine 0, where the ranks meet; the same on all."""
    partition: str | None = None
    """slurm: the partition; null for the cluster's default."""
    account: str | None = None
    """slurm: the account that is charged."""
    qos: str | None = None
    """slurm: quality of service."""
    time: str = "24:00:00"
    """slurm: time limit of the job, such as 12:00:00 or 2-00:00:00. A run that takes longer is requeued and goes on."""
    gpus_per_node: int | None = Field(default=None, ge=0)
    """slurm: GPUs asked for on each node; null for as many as ranks on a node, 0 for a cluster without GPUs."""
    cpus_per_node: int | None = Field(default=None, gt=0)
    """slurm: CPUs asked for on each node; null for the ranks' `parallel.threads`."""
    memory: str | None = None
    """slurm: memory of each node, such as 500G; null for the cluster's default."""
    sbatch: dict[str, str] = {}
    """slurm: more sbatch options by their long names, such as `constraint: h100`; an empty value for options that take
    none."""
    environment: str = ""
    """slurm: shell commands that come first in the job, such as `module load cuda` or `export NCCL_DEBUG=WARN`."""
    container: str = ""
    """slurm: words before each command of ours, such as `apptainer exec --nv image.sif`."""
    python: str | None = None
    """slurm: Python interpreter in the job; null for the present one."""
    signal_seconds: int = Field(default=300, gt=0)
    """slurm: so long before the time limit SIGUSR1 asks the run to save and end."""
    requeue: bool = True
    """slurm: put the job back into the queue after that (and let Slurm do so on preemption and lost nodes)."""
    max_restarts: int = Field(default=100, ge=0)
    """slurm: requeue at most so often."""
    logs: str | None = None
    """slurm: folder of script and logs; null for `.NAME.slurm` beside the output."""
    wait: bool = True
    """slurm: wait until the job is done, showing its state; interrupted, the same command waits again. False: submit
    and return."""
    poll_seconds: float = Field(default=10.0, gt=0)
    """slurm: how often to ask Slurm while waiting."""

    @field_validator("time")
    @classmethod
    def _time(cls, value: str) -> str:
        if not _TIME.fullmatch(value):
            raise ValueError("expected a time limit such as 12:00:00 (hours:minutes:seconds) or 2-00:00:00 (days-...)")
        return value

    @field_validator("sbatch")
    @classmethod
    def _not_twice(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name.startswith("-") or not re.fullmatch(r"[a-z][a-z0-9-]*", name):
                raise ValueError(f"{name!r} is no long name of an sbatch option; write it without dashes in front")
            if name in _SET_ELSEWHERE:
                raise ValueError(f"{name!r} is set with {_SET_ELSEWHERE[name]}; move it there")
        return value

    @model_validator(mode="after")
    def _machines(self) -> Self:
        if self.kind == "slurm":
            if self.node_rank or self.rendezvous:
                raise ValueError("node_rank and rendezvous are for kind local; Slurm tells them by itself")
            return self
        if self.nodes > 1 and not re.fullmatch(r"[^:\s]+:\d+", self.rendezvous or ""):
            raise ValueError(
                f"nodes {self.nodes} needs rendezvous, HOST:PORT of machine 0 (--rdzv), found {self.rendezvous!r}"
            )
        if self.node_rank >= self.nodes:
            raise ValueError(f"node_rank {self.node_rank} must be below nodes {self.nodes}; the first is 0")
        return self
