"""One stage in its own process: ``python -m llmill.recipe.worker JOB.json`` (started by the runner, not by people).

The job file says what to build and where. The state that marks the stage finished is written here, right after the
artifact took its name, so a runner killed in between loses nothing. Exit status: 0 done, 2 the user's error
(also in ``error``), 1 anything else.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from llmill.registry import StageKind
from millbase.artifacts import open_artifact
from millbase.atomic import write_json
from millbase.errors import UserError
from millbase.process import die_with_parent


def main() -> int:
    """Build the stage that the job file describes."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    die_with_parent(job["runner"])
    if len(sys.argv) > 2:
        _watch(int(sys.argv[2]))
    try:
        kind = StageKind(**job["kind"])
        config = kind.config_class().model_validate(job["config"])
        kind.build_function()(config, job["out"])
        digest = open_artifact(job["out"], verify=False).digest
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        write_json(job["error"], {"error": str(error)})
        return 2
    except Exception as error:  # the stage's own bug: the log keeps the traceback, the runner names the error
        traceback.print_exc()
        last = str(error).strip().splitlines()
        write_json(job["error"], {"error": f"{type(error).__name__}: {last[0] if last else ''}"})
        return 1
    write_json(job["finished"], {"key": job["key"], "artifact": digest, "peak_rss_bytes": _own_peak()})
    return 0


def _own_peak() -> int:
    """This process's largest resident memory so far, in bytes; 0 where the system does not tell.

    Not getrusage: Linux hands ru_maxrss down through exec, so it would be the runner's when that was larger.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    lines = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(line.split()[1]) * 1024 for line in lines), 0)


def _watch(pipe: int) -> None:
    """Kill this process's whole group when the runner's end of the pipe closes, that is, when the runner dies.

    PR_SET_PDEATHSIG reaches only this process; pool workers started by a library would live on and write
    into a work directory that the next run resumes. A forked watcher has no heavy imports and holds no locks.
    """
    assert threading.active_count() == 1, "fork the watcher before anything starts a thread"
    if os.fork():
        os.close(pipe)
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        if not os.read(pipe, 1):
            os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
