"""What our executors add to datatrove's: checked completion markers, and errors that find their way to the user."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import resource
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.executor.base import PipelineExecutor
from datatrove.utils.stats import PipelineStats

import millbase.errors
from data_pipeline.base.progress import end_task, start_task
from millbase.atomic import write_json
from millbase.errors import StageError, UserError
from millbase.hashing import file_digest
from millbase.log import get_logger

logger = get_logger(__name__)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclass(frozen=True)
class Tasks:
    """The tasks of one pipeline."""

    names: Sequence[str]
    """What each task reads, for messages."""
    sizes: Sequence[int]
    """Bytes that each task reads: large tasks start first, and progress is counted in them."""
    outputs: Path
    """Folder into which task `rank` writes files whose names begin with `<rank>.`, the rank in five digits."""
    logs: Path
    """Folder of completion markers, logs and errors."""

    def files(self, rank: int) -> list[Path]:
        """What task `rank` wrote."""
        return sorted(self.outputs.glob(f"{rank:05d}.*"))


class CheckedTasks(PipelineExecutor):
    """Mixin for datatrove's executors; put it first among the bases and set `checked` before running.

    A completion marker holds size and digest of the files its task wrote. An error inside a task is kept beside the
    marker, so that whoever waits for the task elsewhere can raise it.
    """

    checked: Tasks
    title: str = "tasks"
    pipeline: list[Any]

    def mark_rank_as_completed(self, rank: int) -> None:
        """Write the marker, whole or not at all."""
        files = {file.name: [file.stat().st_size, file_digest(file)] for file in self.checked.files(rank)}
        write_json(self._marker(rank), files, indent=None)

    def forget_damaged(self, digests: bool) -> list[int]:
        """Remove the markers of tasks whose files are missing or changed, so that they are done again; their ranks.

        `digests`: read all bytes; otherwise only sizes are compared.
        """
        damaged = []
        for rank, name in enumerate(self.checked.names):
            marker = self._marker(rank)
            if not marker.is_file():
                continue
            problem = self._problem(rank, digests)
            if problem is not None:
                logger.warning("%s: %s since an earlier run; %r is read again", self.title, problem, name)
                marker.unlink()
                damaged.append(rank)
        return damaged

    def _problem(self, rank: int, digests: bool) -> str | None:
        try:
            files: dict[str, Any] = json.loads(self._marker(rank).read_text())
            for name, (size, digest) in files.items():
                file = self.checked.outputs / name
                if not file.is_file():
                    return f"{str(file)!r} is gone"
                if file.stat().st_size != size or (digests and file_digest(file) != digest):
                    return f"{str(file)!r} changed"
        except (ValueError, TypeError, AttributeError):
            return f"the completion marker of task {rank} is damaged"
        return None if files else f"task {rank} left no file"

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        error_file = self._error(rank)
        error_file.unlink(missing_ok=True)
        start_task(self.checked.sizes[rank])
        pipeline = self.pipeline
        self.pipeline = deepcopy(pipeline)  # steps count; a process may run several tasks
        started, cpu = time.monotonic(), time.process_time()
        try:
            # datatrove logs to stderr what also stands in the task's log file
            with contextlib.redirect_stderr(io.StringIO()), disk_errors(self.title):
                stats = super()._run_for_rank(rank, local_rank=1, node_rank=node_rank)
                self._record_usage(rank, time.monotonic() - started, time.process_time() - cpu)
                return stats
        except Exception as error:
            with contextlib.suppress(OSError):  # a full disk: the caller has the exception itself
                record = {"kind": type(error).__name__, "message": str(error), "name": self.checked.names[rank]}
                write_json(error_file, record, indent=None)
            raise
        finally:
            self.pipeline = pipeline
            end_task()

    def _record_usage(self, rank: int, wall: float, cpu: float) -> None:
        usage: dict[str, float] = {"bytes": self.checked.sizes[rank], "peak_rss_bytes": peak_memory()}
        usage |= {"wall_seconds": round(wall, 3), "cpu_seconds": round(cpu, 3)}
        write_json(usage_file(self.checked.logs, rank), usage, indent=None)

    def raise_unfinished(self, ranks: Sequence[int], logs: str) -> None:
        """Raise the error of the first unfinished task that left one, else StageError, when `ranks` is not empty."""
        for rank in ranks:
            with contextlib.suppress(OSError, ValueError, KeyError):
                record = json.loads(self._error(rank).read_text())
                kind = getattr(millbase.errors, record["kind"], None)
                if isinstance(kind, type) and issubclass(kind, UserError):
                    raise kind(record["message"])
                raise StageError(
                    f"{self.title}: {len(ranks)} of {len(self.checked.names)} tasks failed, the first on "
                    f"{record['name']!r}: {record['kind']}: {record['message']}; logs: {logs}; finished files are "
                    "kept: start the same command again to redo only the rest"
                )
        if ranks:
            raise StageError(
                f"{self.title}: {len(ranks)} of {len(self.checked.names)} tasks did not finish and left no error "
                f"(killed, out of memory or time?), the first {self.checked.names[ranks[0]]!r}; logs: {logs}; finished "
                "files are kept: start the same command again, with more memory or time, to redo only the rest"
            )

    def _marker(self, rank: int) -> Path:
        return self.checked.logs / "completions" / f"{rank:05d}"

    def _error(self, rank: int) -> Path:
        return self.checked.logs / "errors" / f"{rank:05d}.log"


def usage_file(logs: Path, rank: int) -> Path:
    """Where task `rank` leaves `bytes` (of its input), `wall_seconds`, `cpu_seconds`, `peak_rss_bytes` (so far)."""
    return logs / "usage" / f"{rank:05d}.log"


def peak_memory() -> int:
    """The most memory this process held, in bytes."""
    with contextlib.suppress(OSError, StopIteration):
        # Linux: ru_maxrss counts from the memory of the process that started this one, even after exec
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def byte_unit(total: int) -> tuple[float, str]:
    """A scale and its unit in which `total` bytes are a number to look at."""
    return (1e6, "MB") if total > 1e7 else (1e3, "kB")


@contextlib.contextmanager
def disk_errors(title: str) -> Iterator[None]:
    """Turn the errors of a disk that is full or read-only into one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise StageError(
            f"{title}: cannot write{where}: {error.strerror or error}; free space or choose another --out, then start "
            "the same command again: finished files are kept"
        ) from None
