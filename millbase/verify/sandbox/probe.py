"""Which mechanism works here: each is tried with a program that attempts what it must prevent."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from millbase.errors import ConfigError
from millbase.log import get_logger
from millbase.verify.sandbox.config import Mechanism, SandboxConfig
from millbase.verify.sandbox.process import RefusedError, run_in

logger = get_logger(__name__)

ORDER: tuple[Mechanism, ...] = ("namespaces", "bubblewrap", "landlock")
GUARANTEES: dict[Mechanism, str] = {
    "namespaces": "own file tree (standard library read-only, a size-limited folder in memory), no network, no other "
    "process in sight, seccomp allow list, resource limits",
    "bubblewrap": "as namespaces, set up by the bwrap program",
    "landlock": "files, TCP and signals by Landlock, sockets and processes by a seccomp allow list, resource limits; "
    "the sizes and names of files outside can be seen, and the folder's size is watched rather than fixed",
    "none": "resource limits only: programs can read, write and send whatever this user can",
}

_ATTEMPTS = """
import os, socket, time
failures = []
def attempt(name, action):
    try:
        action()
    except (OSError, RuntimeError):
        return
    failures.append(name)
def fork():
    for _ in range({processes} + 4):
        if os.fork() == 0:
            time.sleep(60)
attempt("read a file outside", lambda: open({secret!r}).read())
attempt("write a file outside", lambda: open({outside!r}, "w"))
attempt("reach the network", lambda: socket.create_connection(("127.0.0.1", {port}), timeout=1))
attempt("signal its parent", lambda: os.kill({pid}, 0))
attempt("read another process", lambda: open("/proc/{pid}/environ", "rb").read())
attempt("start more processes than allowed", fork)
open("own.txt", "w").write("x")
assert open("own.txt").read() == "x"
import math, decimal, json, hashlib
print("|".join(failures), end="", flush=True)
os._exit(0)
"""


def find_mechanism(config: SandboxConfig) -> Mechanism:
    """The mechanism that programs run under here, tried once per process.

    Raises ConfigError when none holds and `allow_unsandboxed` is false.
    """
    wanted = ORDER if config.mechanism == "auto" else (config.mechanism,)
    reasons = []
    for mechanism in wanted:
        if mechanism == "landlock" and config.processes > 1:
            reasons.append("landlock: cannot count processes, set processes to 1")
            continue
        problem = _problem(mechanism, config.processes)
        if problem is None:
            return mechanism
        reasons.append(f"{mechanism}: {problem}")
    if config.allow_unsandboxed:
        logger.warning("no sandbox (%s): programs run with resource limits only", "; ".join(reasons))
        return "none"
    raise ConfigError(
        f"programs cannot be confined on this machine ({'; '.join(reasons)}), so none is run; allow user namespaces, "
        "install bubblewrap, or use Linux 6.2 or newer with Landlock; allow_unsandboxed=true runs them without, as you"
    )


def describe(config: SandboxConfig | None = None) -> str:
    """One line: the mechanism in use here and what it guarantees."""
    mechanism = find_mechanism(config or SandboxConfig())
    return f"{mechanism}: {GUARANTEES[mechanism]}"


@functools.cache
def _problem(mechanism: Mechanism, processes: int) -> str | None:
    """Why a mechanism does not hold here; None when it does."""
    if sys.platform != "linux":
        return f"needs Linux, this is {sys.platform}"
    if mechanism == "bubblewrap" and shutil.which("bwrap") is None:
        return "no program bwrap on the PATH"
    with (
        tempfile.TemporaryDirectory(prefix="llmill-probe-") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        secret = Path(folder, "secret")
        secret.write_text("secret")
        os.chmod(folder, 0o755)
        program = _ATTEMPTS.format(
            secret=str(secret),
            outside=str(Path(folder, "written")),
            port=server.getsockname()[1],
            pid=os.getpid(),
            processes=processes,
        )
        trial = SandboxConfig(processes=processes, wall_seconds=60, cpu_seconds=30)
        try:
            outcome = run_in(mechanism, trial, program, None)
        except RefusedError as error:
            return str(error)
    if outcome.status != "ok":
        return f"a trial program did not run ({outcome.status}): {outcome.stderr.strip()[-200:]}"
    if outcome.stdout:
        return f"a trial program could {outcome.stdout.replace('|', ', ')}"
    return None
