"""CPU time of a command and of everything it starts.

CPU time (user and system) rather than wall time, so that other load on the machine hardly matters; and of the whole
process tree, for pipelines work in pools whose processes nobody waits for. The kernel hands the time of a process to
the one that waits for it; this process becomes the parent of every orphan below it (PR_SET_CHILD_SUBREAPER) and waits
for them all. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_ORPHAN_SECONDS = 10.0


@dataclass(frozen=True)
class Cost:
    """What a command cost."""

    cpu: float
    """User and system seconds of all its processes."""
    wall: float
    """Seconds from start to end."""


class CommandError(RuntimeError):
    """A measured command that ended with an error; the message shows the end of its log."""


def measure(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Cost:
    """Run `command` with its output in `log`. Raises CommandError when it fails."""
    if sys.platform != "linux":
        raise CommandError("CPU time of a process tree can be measured on Linux only")
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before, started = _children(), time.perf_counter()
    with open(log, "wb") as output:
        status = subprocess.run(
            list(command), stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd, check=False
        ).returncode
    wall = time.perf_counter() - started
    _wait_for_orphans()
    if status:
        tail = log.read_text(errors="replace")[-2000:]
        raise CommandError(f"exit status {status}: {' '.join(command)}\n{tail}\n(all of it: {log})")
    return Cost(_children() - before, wall)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait_for_orphans() -> None:
    """Wait for processes that outlive the command; after some seconds, end them."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() > deadline:
                for orphan in _own_children():
                    os.kill(orphan, signal.SIGKILL)
            time.sleep(0.02)


def _own_children() -> list[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in text.split()]
