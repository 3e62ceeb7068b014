"""Namespaces of its own for the sandbox: no network, no other process, and a file tree of what it needs, read-only.

Root makes them directly and gives up root afterwards (`limits.drop_rights`); anybody else through a user namespace.
See namespaces(7), pivot_root(2). Everything is undone by the kernel when the last process inside ends.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from millbase.verify.confined.syscalls import table

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    *(0x20000, 0x02000000, 0x04000000, 0x08000000),
    *(0x10000000, 0x20000000, 0x40000000),
)
_RDONLY, _NOSUID, _NODEV, _NOATIME, _NODIRATIME, _RELATIME = 1, 2, 4, 1024, 2048, 1 << 21
_REMOUNT, _BIND, _REC, _PRIVATE, _DETACH = 32, 4096, 16384, 1 << 18, 2
_KEPT = {1: _RDONLY, 2: _NOSUID, 4: _NODEV, 8: 8, 1024: _NOATIME, 2048: _NODIRATIME, 4096: _RELATIME}
"""Flags of statvfs -> of mount: a user namespace may not take them away from a mount."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
BOX = "/box"
"""The program's own folder inside."""
INODES = 4096
"""Most files and folders in it."""

_libc = ctypes.CDLL(None, use_errno=True)


def unshare() -> bool:
    """Enter new namespaces; processes forked from now on see them all. True when a user namespace was needed."""
    others = _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    if os.geteuid() == 0 and _libc.unshare(others) == 0:
        return False
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(others | _NEWUSER):
        raise OSError(ctypes.get_errno(), f"user namespaces are refused: {os.strerror(ctypes.get_errno())}")
    for name, text in (("setgroups", "deny"), ("uid_map", f"65534 {user} 1"), ("gid_map", f"65534 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def enter_tree(place: str, readable: Sequence[str], disk_bytes: int, owner: int | None) -> None:
    """Make `place` the root: `readable` paths where they were, a few devices, and an empty folder `/box` to write in.

    `owner`: user and group id of that folder, when not this process's.
    """
    _mount("none", "/", None, _REC | _PRIVATE)
    _mount("tmpfs", place, "tmpfs", _NOSUID | _NODEV, f"size=1m,nr_inodes={INODES},mode=755")
    for path in readable:
        _show(path, place)
    for path in DEVICES:
        _bind(path, place + path)
    os.mkdir(place + BOX)
    who = "" if owner is None else f",uid={owner},gid={owner}"
    size = f"size={max(4096, disk_bytes)},nr_inodes={INODES},mode=700{who}"
    _mount("tmpfs", place + BOX, "tmpfs", _NOSUID | _NODEV, size)
    if not os.path.lexists(place + "/tmp"):  # a path that is shown may lie below it
        os.symlink(BOX, place + "/tmp")
    _mount("none", place, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.chdir(place)
    if _libc.syscall(table()["pivot_root"], b".", b"."):
        raise OSError(ctypes.get_errno(), "pivot_root is refused")
    if _libc.umount2(b".", _DETACH):
        raise OSError(ctypes.get_errno(), "the old root cannot be left")
    os.chdir(BOX)


def _show(path: str, place: str) -> None:
    """Bind a file or folder read-only at its own path; a symbolic link stays one."""
    target = place + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    _bind(path, target)
    kept = os.statvfs(target).f_flag
    flags = sum(flag for bit, flag in _KEPT.items() if kept & bit and flag not in (_RDONLY, _NOSUID, _NODEV))
    _mount("none", target, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | flags)


def _bind(path: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        with open(target, "w"):
            pass
    _mount(path, target, None, _BIND | _REC)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    kind_ = None if kind is None else kind.encode()
    if _libc.mount(source.encode(), target.encode(), kind_, ctypes.c_ulong(flags), data.encode() or None):
        code = ctypes.get_errno()
        raise OSError(code, f"mounting {source} on {target} is refused: {os.strerror(code)}")
