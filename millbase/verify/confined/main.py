"""Start of the sandbox's process: reads the job, gives up everything the mechanism takes away, runs the program.

    python -I -S -B -c 'import sys; sys.path.insert(0, ROOT); from millbase.verify.confined.main import main; main()' \
        JOB_FD TEST_FD REPORT_FD

The processes: this one enters the namespaces and waits; its child (process 1 in there) reads the test and gives the
verdict; the child's child runs the program. The program's process is forked before the test is read, and it holds
neither the file of the test nor the pipe of the report, so nothing in its memory can tell it what the test expects.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

from millbase.verify.confined import candidate, examiner, landlock, limits, namespaces, seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
REFUSED = 125
"""Exit status when the sandbox could not be set up."""


def main() -> NoReturn:
    """Run the job whose file descriptors the arguments name."""
    job_fd, test_fd, report_fd = map(int, sys.argv[1:4])
    _die_with_parent()
    job = json.loads(_read(job_fd))
    try:
        _enter(job)
    except OSError as error:
        _report(report_fd, {"refused": str(error)})
        os._exit(REFUSED)
    _run(job, test_fd, report_fd)


def _enter(job: dict[str, Any]) -> None:
    """Everything that confines all processes of the sandbox alike."""
    mechanism, bounds = job["mechanism"], job["limits"]
    user: int | None = None
    if mechanism == "namespaces":
        in_user_namespace = namespaces.unshare()
        if not in_user_namespace:
            user = limits.own_user()
        _wait_for_child()
        namespaces.enter_tree(job["place"], job["readable"], bounds["disk_bytes"], user)
    elif mechanism == "landlock":
        os.chdir(job["box"])
        landlock.restrict([*job["readable"], *namespaces.DEVICES], [job["box"], "/dev/null"])
    else:
        os.chdir(namespaces.BOX if mechanism == "bubblewrap" else job["box"])
    if mechanism != "none":
        limits.drop_rights(user)
        _die_with_parent()  # the kernel forgets it when the user changes
    limits.set_limits(bounds, count_processes=mechanism in ("namespaces", "bubblewrap"))


def _wait_for_child() -> None:
    """Go on in a child, the first process of the new namespace; this one waits and ends as it does."""
    child = os.fork()
    if child == 0:
        _die_with_parent()
        return
    _, status = os.waitpid(child, 0)
    os._exit(0 if os.WIFEXITED(status) else REFUSED)


def _run(job: dict[str, Any], test_fd: int, report_fd: int) -> NoReturn:
    confined = job["mechanism"] != "none"
    to_program, from_program = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _die_with_parent()
        _keep_only((to_program[0], from_program[1]))
        if confined:
            seccomp.confine(single=job["limits"]["processes"] == 1)
        _program(job, to_program[0], from_program[1])
    os.close(to_program[0])
    os.close(from_program[1])
    os.dup2(os.open("/dev/null", os.O_RDWR), 1)  # what a test prints is nobody's answer
    os.dup2(1, 2)
    if job["mechanism"] == "bubblewrap":
        threading.Thread(target=_watch_names, args=(report_fd,), daemon=True).start()
    verdict: dict[str, Any] = {}
    if job["check"]:
        test = json.loads(_read(test_fd))
        if confined:
            seccomp.confine(single=True)
        verdict = examiner.examine(test, from_program[0], to_program[1])
        if not verdict.get("gone"):
            _report(report_fd, verdict)
            os._exit(0)
    _, status, usage = os.wait4(child, 0)
    _report(report_fd, {**verdict, "status": status, "cpu": usage.ru_utime + usage.ru_stime})
    os._exit(0)


def _watch_names(report_fd: int) -> None:
    """End everything when the folder holds too many files: bwrap bounds their bytes, not their number."""
    while True:
        folder = os.statvfs(namespaces.BOX)
        if folder.f_files - folder.f_ffree > namespaces.INODES:
            _report(report_fd, {"limit": "disk"})
            os._exit(0)
        time.sleep(0.02)


def _program(job: dict[str, Any], read_fd: int, write_fd: int) -> NoReturn:
    """The tested program's process, from here to its end."""
    sys.path[:] = [path for path in sys.path if path != job["root"]] + job["packages"]
    if job["check"]:
        candidate.serve(job["program"], read_fd, write_fd)
        os._exit(0)
    os.close(read_fd)
    os.close(write_fd)
    os._exit(candidate.run_alone(job["program"]))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _keep_only(wanted: tuple[int, ...]) -> None:
    """Close every file but the standard ones and these."""
    kept = sorted({0, 1, 2, *wanted})
    for start, end in zip(kept, [*kept[1:], 4096]):
        os.closerange(start + 1, end)


def _read(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def _report(fd: int, report: dict[str, Any]) -> None:
    os.write(fd, json.dumps(report).encode())
