"""What the sandbox's process is told, and the files it needs to see."""

from __future__ import annotations

import functools
import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import millbase
from millbase.errors import InputError
from millbase.verify.sandbox.config import Check, Mechanism, SandboxConfig

ROOT = str(Path(millbase.__file__).resolve().parent.parent)
"""What must be on the path of the sandbox's process to import `millbase.verify.confined`."""
_START = (
    f"import sys; sys.path.insert(0, {ROOT!r}); from millbase.verify.confined.main import main; "
    "sys.argv[0] = 'sandbox'; main()"
)
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONHASHSEED": "0", "TZ": "UTC"}
"""All that the sandbox's processes have in their environment; one hash seed, so that one program acts one way."""
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def python() -> str:
    """The interpreter that runs programs: the one below this environment."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


@functools.cache
def system_paths() -> tuple[str, ...]:
    """What Python reads while a program runs: its standard library and the system's shared libraries."""
    paths = [sysconfig.get_path("stdlib"), f"{sys.base_prefix}/lib", f"{sys.base_exec_prefix}/lib"]
    paths += ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"]
    found = [path for path in dict.fromkeys(paths) if path and os.path.exists(path)]
    return tuple(path for path in found if not any(_below(path, other) for other in found if other != path))


def _below(path: str, other: str) -> bool:
    return path.startswith(f"{other}/")


def readable_paths(config: SandboxConfig) -> list[str]:
    """Every path that programs may read. InputError for a package directory that does not exist."""
    for path in config.packages:
        if not os.path.isdir(path) or not os.path.isabs(path):
            raise InputError(f"sandbox packages: {path!r} is not an absolute path of a directory; check the path")
    extra = [path for path in config.packages if not any(_below(path, other) for other in system_paths())]
    return [*system_paths(), *extra]


def write_job(
    place: Path, config: SandboxConfig, mechanism: Mechanism, check: Check | None, program: str, stdin: str
) -> None:
    """Write `job`, `test` and `stdin` into a fresh folder, and make the folders that the sandbox needs there."""
    for name in ("root", "box"):
        (place / name).mkdir()
    job: dict[str, Any] = {
        "mechanism": mechanism,
        "check": check is not None,
        "program": program,
        "place": str(place / "root"),
        "box": str(place / "box"),
        "root": ROOT,
        "readable": readable_paths(config),
        "packages": config.packages,
        "limits": config.model_dump(include={"cpu_seconds", "memory_bytes", "processes", "disk_bytes"}),
    }
    test = {"test": check.test, "prelude": check.prelude, "names": list(check.names)} if check else {}
    (place / "job").write_text(json.dumps(job))
    (place / "test").write_text(json.dumps(test))
    (place / "stdin").write_bytes(stdin.encode("utf-8", "surrogatepass"))


def command(config: SandboxConfig, mechanism: Mechanism, bwrap: str | None, fds: tuple[int, int, int]) -> list[str]:
    """The command that starts the sandbox's process."""
    inner = [python(), "-I", "-S", "-B", "-X", "utf8", "-c", _START, *map(str, fds)]
    if mechanism != "bubblewrap":
        return inner
    assert bwrap is not None, "bubblewrap is chosen only where it was found"
    package = Path(ROOT) / "millbase"
    own = [package / "__init__.py", package / "verify/__init__.py", package / "verify/confined"]
    outer = [bwrap, "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--die-with-parent"]
    outer += ["--cap-drop", "ALL"]
    shown = list(dict.fromkeys([*readable_paths(config), python(), os.path.realpath(python()), *map(str, own)]))
    for path in shown:
        outer += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
    for path in ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"):
        outer += ["--dev-bind", path, path]
    outer += ["--size", str(max(4096, config.disk_bytes)), "--tmpfs", "/box"]
    if not any(path.startswith("/tmp/") for path in shown):
        outer += ["--symlink", "/box", "/tmp"]
    return [*outer, "--remount-ro", "/", "--chdir", "/box", "--", *inner]
