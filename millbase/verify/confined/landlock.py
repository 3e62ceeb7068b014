"""Landlock: file access, TCP, and signals taken away from this process by itself, without any privilege.

See landlock(7). Wanted is version 3 at least (Linux 6.2): before, a file outside could be truncated.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from millbase.verify.confined.syscalls import table

MINIMUM = 3
_EXECUTE, _WRITE, _READ, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_ALL_FILES = (1 << 15) - 1
"""Every right over files that version 3 knows."""
_IOCTL_DEV = 1 << 15  # version 5
_ON_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE
_TCP = 0b11  # bind and connect, version 4
_SCOPES = 0b11  # abstract UNIX sockets and signals, version 6
_GET_VERSION, _PATH_BENEATH = 1, 1


def version() -> int:
    """Landlock's version, 0 where the kernel has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(table()["landlock_create_ruleset"], None, 0, _GET_VERSION)))


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Leave this process the files below these paths and no others, no TCP, and signals within itself only.

    Raises OSError when the kernel has no Landlock or too old a version.
    """
    known = version()
    if known < MINIMUM:
        raise OSError(f"Landlock has version {known} here, {MINIMUM} is needed (Linux 6.2)")
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = table()
    files = _ALL_FILES | (_IOCTL_DEV if known >= 5 else 0)
    attributes = struct.pack("QQQ", files, _TCP if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    rules = libc.syscall(numbers["landlock_create_ruleset"], attributes, size, 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "Landlock refused the rules")
    allowed = [(path, _EXECUTE | _READ | _READ_DIR) for path in readable]
    allowed += [(path, _ALL_FILES & ~_EXECUTE) for path in writable]
    for path, rights in allowed:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _ON_FILES
        added = libc.syscall(numbers["landlock_add_rule"], rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
        os.close(place)
        if added:
            raise OSError(ctypes.get_errno(), f"Landlock refused {path!r}")
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which Landlock demands
    if libc.syscall(numbers["landlock_restrict_self"], rules, 0):
        raise OSError(ctypes.get_errno(), "Landlock refused to restrict the process")
    os.close(rules)
