"""Start a module on several ranks of this machine with torchrun, and say which rank failed and why."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from millbase.errors import StageError
from millbase.log import get_logger
from millbase.process import die_with_parent

logger = get_logger(__name__)
_TAIL_LINES = 15


def torchrun(
    module: str,
    nproc: int,
    args: Sequence[str],
    log_dir: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> None:
    """Run ``python -m module args...`` as ``nproc`` ranks and wait.

    Rank 0 writes to this process's stderr; every rank's output lies under ``log_dir``. The whole group
    dies with this process. Raises StageError with the failing rank and the last lines it wrote.
    """
    log_dir = Path(log_dir)
    log_dir.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(nproc), "--log-dir", str(log_dir)),
        *("--redirects", "3", "--tee", "0:3", "--local-ranks-filter", "0"),
        *("-m", module, *args),
    ]
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
        raise StageError(f"{module} failed on {nproc} ranks (exit status {code}): {_last_words(log_dir)}")


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
                return f"rank {log.parent.name}: {line.removeprefix('error: ')} (full log: {log})"
    tail = logs[-1].read_text(errors="replace").splitlines()[-_TAIL_LINES:] if logs else []
    return " | ".join(tail) or f"no output; logs under {log_dir}"
