"""A seccomp filter that lets through what a computing program needs, and nothing by which it could reach others.

An allow list: no sockets but connected pairs, no signals but to itself, no new processes or threads unless asked, no
other program's memory, limits or scheduling, no namespaces, mounts, keys, or kernel facilities that came later.
What is not on it fails with EPERM, so a program sees an ordinary error. See seccomp(2) and linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable

from millbase.verify.confined.syscalls import AUDIT_ARCH, table

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # classic BPF: ld abs, jeq, jge, jset, ret
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000  # SECCOMP_RET_*
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data
_X32_BIT = 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
_FILTER_MODE = 1  # SECCOMP_SET_MODE_FILTER

_PLAIN = """
read write readv writev pread64 pwrite64 preadv pwritev creat close close_range lseek stat fstat lstat newfstatat
statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents64 getcwd chdir fchdir mkdir mkdirat rmdir
unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat ftruncate fallocate fsync fdatasync fadvise64
flock umask dup dup2 dup3 pipe pipe2 poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2
socketpair sendto recvfrom sendmsg recvmsg shutdown getsockopt setsockopt getsockname getpeername mmap munmap mprotect
mremap madvise brk msync mincore membarrier rseq set_robust_list set_tid_address futex sched_yield sched_getaffinity
getcpu wait4 waitid exit exit_group rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend
rt_sigtimedwait sigaltstack arch_prctl getrlimit setrlimit getrusage times getpid getppid gettid getuid geteuid getgid
getegid getresuid getresgid getgroups getpgrp getpgid getsid getpriority uname sysinfo time gettimeofday clock_gettime
clock_getres clock_nanosleep nanosleep getitimer setitimer alarm pause timer_create timer_settime timer_gettime
timer_delete timer_getoverrun timerfd_create timerfd_settime timerfd_gettime getrandom restart_syscall
"""

_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
"""Duplicate, flags, locks, pipe size; not F_SETOWN and F_SETSIG, by which one process signals another."""
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""Is it a terminal and how large, bytes to read, blocking, close on exec."""
_PRCTL = (15, 16, 23, 0x53564D41)
"""Names of threads and mappings; not the signal at the parent's death, which must stay."""
_O_TMPFILE = 0x400000
_NEW_NAMESPACES = 0x80 | 0x8000 | 0x20000 | 0x800000 | 0x02000000 | 0x7C000000
"""Flags of clone: every CLONE_NEW*, CLONE_PARENT, CLONE_UNTRACED."""


def confine(single: bool) -> None:
    """Put this process, for good, behind the filter. `single`: it may start no process and no thread.

    Raises OSError when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    program = b"".join(_program(single, os.getpid()))
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs is refused")
    if libc.syscall(table()["seccomp"], _FILTER_MODE, 0, filter_):
        raise OSError(ctypes.get_errno(), "seccomp filters are refused")


def _program(single: bool, pid: int) -> Iterable[bytes]:
    """The filter's instructions, each `struct sock_filter`."""
    numbers = table()
    yield _instruction(_LOAD, _ARCH)
    yield _instruction(_EQUAL, AUDIT_ARCH[platform.machine()], yes=1)
    yield _instruction(_RETURN, _KILL)  # another instruction set has other numbers
    yield _instruction(_LOAD, _NR)
    yield _instruction(_AT_LEAST, _X32_BIT, no=1)
    yield _instruction(_RETURN, _ERRNO | errno.ENOSYS)
    for name in _PLAIN.split():
        if name in numbers:
            yield from _when(numbers[name], [_instruction(_RETURN, _ALLOW)])
    rules = [("fcntl", 1, _FCNTL), ("ioctl", 1, _IOCTL), ("prctl", 0, _PRCTL), ("prlimit64", 0, (0,))]
    rules += [("kill", 0, (pid,)), ("tgkill", 0, (pid,))]
    for name, argument, values in rules:
        yield from _when(numbers[name], _only(argument, values))
    for name, argument in (("open", 1), ("openat", 2)):
        if name in numbers:
            yield from _when(numbers[name], _without(argument, _O_TMPFILE))
    if not single:
        yield from _when(numbers["clone"], _without(0, _NEW_NAMESPACES))
        for name in ("fork", "vfork", "execve"):
            if name in numbers:
                yield from _when(numbers[name], [_instruction(_RETURN, _ALLOW)])
    # their arguments lie in memory, where a filter cannot look; libraries go on with the older call
    for name in ("clone3", "openat2"):
        yield from _when(numbers[name], [_instruction(_RETURN, _ERRNO | errno.ENOSYS)])
    yield _instruction(_RETURN, _ERRNO | errno.EPERM)


def _when(number: int, body: list[bytes]) -> Iterable[bytes]:
    yield _instruction(_EQUAL, number, no=len(body))
    yield from body


def _only(argument: int, values: Iterable[int]) -> list[bytes]:
    """Allow when the low 32 bits of an argument are one of the values."""
    body = [_instruction(_LOAD, _ARGS + 8 * argument)]
    for value in values:
        body += [_instruction(_EQUAL, value, no=1), _instruction(_RETURN, _ALLOW)]
    return [*body, _instruction(_RETURN, _ERRNO | errno.EPERM)]


def _without(argument: int, bits: int) -> list[bytes]:
    """Allow when none of the bits is set in the low 32 bits of an argument."""
    return [
        _instruction(_LOAD, _ARGS + 8 * argument),
        _instruction(_ANY_BIT, bits, yes=1),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _ERRNO | errno.EPERM),
    ]


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)
