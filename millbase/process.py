"""Child processes that never outlive their parent, and facts about the host."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import signal
import sys
from importlib import metadata
from typing import Any

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_PACKAGES = (
    "torch",
    "megatron-core",
    "transformers",
    "trl",
    "datatrove",
    "datasets",
    "pyarrow",
    "tokenizers",
    "fasttext",
    "lm-eval",
    "numpy",
)


def die_with_parent(parent: int | None = None, sig: int = signal.SIGKILL) -> None:
    """Ask the kernel to send ``sig`` to this process when its parent dies (Linux; elsewhere nothing happens).

    Call it first thing in a child, or as ``preexec_fn``. ``parent`` closes the race where the parent died
    before the call: when given and no longer our parent, we exit at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, sig, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def keep_freed_memory() -> None:
    """Let glibc keep what this process frees, for its next allocations (elsewhere nothing happens).

    By default every tensor of 32 MiB or more is mapped anew, and the kernel clears each of its pages: a fifth of the
    CPU time of training on a CPU. The process grows to its peak, and stays there.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20)):
        libc.mallopt(parameter, value)


@functools.cache
def package_versions() -> dict[str, str]:
    """Installed versions of Python, llmill and the libraries results depend on."""
    versions = {"python": platform.python_version()}
    for name in ("llmill", *_PACKAGES):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def host_facts() -> dict[str, Any]:
    """What kind of machine this is; no names, no addresses."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": available_cores(),
        "memory_bytes": memory,
    }


def available_cores() -> int:
    """Cores this process may use (its affinity mask, not the machine's total)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
