"""Resource limits, and giving up the rights of root."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from typing import Any

from millbase.verify.confined.syscalls import table

_OPEN_FILES = 64
_CAPABILITY_VERSION_3 = 0x20080522
_NOBODY = 65534
_FIRST_OWN_USER = 0x60000000


def own_user() -> int:
    """A user id that nobody has, different for every sandbox that lives: limits by user count this one alone."""
    return _FIRST_OWN_USER + os.getpid()


def set_limits(limits: dict[str, Any], *, count_processes: bool) -> None:
    """Set what setrlimit(2) bounds; hard limits, so they cannot be raised again."""
    cpu = int(limits["cpu_seconds"])
    values = {
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: max(4096, limits["disk_bytes"]),
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if hasattr(resource, "RLIMIT_MSGQUEUE"):
        values[resource.RLIMIT_MSGQUEUE] = 0
    if count_processes:
        # the sandbox itself holds two: the one that waits and the one that examines
        values[resource.RLIMIT_NPROC] = limits["processes"] + 2
    for kind, value in values.items():
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


def drop_rights(user: int | None) -> None:
    """Become `user` when given (root only), and lose every capability. OSError when that is refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    if user is not None:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:  # a container maps few user ids, nobody among them
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    header, nothing = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    if libc.syscall(table()["capset"], header, nothing):
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
