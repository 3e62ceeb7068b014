"""Start a module on several ranks with torchrun, on this machine or on several, and say which rank failed and why."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from millbase.errors import StageError
from millbase.log import get_logger
from millbase.process import die_with_parent

logger = get_logger(__name__)
_TAIL_LINES = 15


@dataclass(frozen=True)
class Nodes:
    """Several machines that run one group of ranks."""

    count: int
    address: str
    """Host name of machine 0, where the ranks meet."""
    port: int
    rank: int | None = 0
    """This machine's number; None: this process is a Slurm job's, and srun starts torchrun on each of its nodes."""

    @classmethod
    def of_slurm_job(cls, count: int) -> Nodes:
        """The nodes of the Slurm job that this process is in, on whose first it runs."""
        with socket.socket() as free:
            free.bind(("", 0))
            return cls(count, socket.gethostname(), int(free.getsockname()[1]), rank=None)


def torchrun(
    module: str,
    nproc: int,
    args: Sequence[str],
    log_dir: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    nodes: Nodes | None = None,
) -> None:
    """Run ``python -m module args...`` as ``nproc`` ranks and wait; with ``nodes``, as so many on each machine.

    Rank 0 writes to this process's stderr; every rank's output lies under ``log_dir``, of several machines in a folder
    ``node<number>`` each. The whole group dies with this process. Raises StageError with the failing rank and the last
    lines it wrote.
    """
    log_dir = Path(log_dir)
    log_dir.mkdir(parents=True, exist_ok=True)
    command = torchrun_command(module, nproc, args, log_dir, nodes)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **(env or {})}
    parent = os.getpid()
    # its own session, so that stopping it stops every rank; the kernel kills it when we die, and torchrun's
    # workers ask for the same (``die_with_parent`` in the worker module)
    process = subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=sys.stderr.fileno() if _has_fileno() else None,
        preexec_fn=lambda: die_with_parent(parent),
    )
    try:
        code = process.wait(timeout)
    except BaseException:
        _stop(process)
        raise
    if code != 0:
        ranks = nproc if nodes is None else nproc * nodes.count
        raise StageError(f"{module} failed on {ranks} ranks (exit status {code}): {_last_words(log_dir)}")


def torchrun_command(
    module: str, nproc: int, args: Sequence[str], log_dir: Path, nodes: Nodes | None = None
) -> list[str]:
    """The command line: torchrun on this machine, or srun with a torchrun on each node of a Slurm job."""
    start = [sys.executable, "-m", "torch.distributed.run"]
    ranks = ["--nproc-per-node", str(nproc), "--redirects", "3", "--tee", "0:3", "--local-ranks-filter", "0"]
    work = ["-m", module, *args]
    if nodes is None:
        return [*start, "--standalone", *ranks, "--log-dir", str(log_dir), *work]
    meeting = ["--nnodes", str(nodes.count), "--master-addr", nodes.address, "--master-port", str(nodes.port)]
    if nodes.rank is not None:
        folder = str(log_dir / f"node{nodes.rank}")
        return [*start, *meeting, "--node-rank", str(nodes.rank), *ranks, "--log-dir", folder, *work]
    here = f'--node-rank "$SLURM_NODEID" --log-dir {shlex.quote(str(log_dir))}/node"$SLURM_NODEID"'
    line = f"exec {shlex.join([*start, *meeting])} {here} {shlex.join([*ranks, *work])}"
    # one torchrun a node; when one fails, the others are ended too
    srun = ["srun", f"--nodes={nodes.count}", f"--ntasks={nodes.count}", "--ntasks-per-node=1"]
    return [*srun, "--kill-on-bad-exit=1", "--export=ALL", *_cpus(), "bash", "-c", line]


def _cpus() -> list[str]:
    """srun forgets the job's --cpus-per-task (since Slurm 22.05)."""
    cpus = os.environ.get("SLURM_CPUS_PER_TASK")
    return [f"--cpus-per-task={cpus}"] if cpus else []


def _has_fileno() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, AttributeError, ValueError):
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the group to save and end, then insist."""
    for sig, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sig)
            process.wait(patience)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _last_words(log_dir: Path) -> str:
    """The failing rank's own error line, else the tail of the newest log."""
    logs = sorted(log_dir.rglob("stderr.log"), key=lambda file: file.stat().st_mtime)
    for log in logs:
        lines = log.read_text(errors="replace").splitlines()
        for line in reversed(lines[-200:]):
            if re.match(r"^(error: |\w[\w.]*(Error|Exception)\b)", line):
                return f"{_rank(log)}: {line.removeprefix('error: ')} (full log: {log})"
    tail = logs[-1].read_text(errors="replace").splitlines()[-_TAIL_LINES:] if logs else []
    return " | ".join(tail) or f"no output; logs under {log_dir}"


def _rank(log: Path) -> str:
    """``rank 1``, or ``node 0 rank 1`` of several machines."""
    node = next((part for part in log.parts[::-1] if re.fullmatch(r"node\d+", part)), None)
    rank = f"rank {log.parent.name}"
    return rank if node is None else f"node {node.removeprefix('node')} {rank}"
