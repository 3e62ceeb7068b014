"""Run one worker process: its output to the terminal and a log file, its memory sampled, nothing left behind."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

_SAMPLE_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[@-_]")


@dataclass
class Outcome:
    """How a worker ended."""

    returncode: int
    """Negative: killed by that signal."""
    seconds: float
    peak_rss_bytes: int
    """Largest sum of resident memory over the process and its descendants, sampled twice a second; pages that
    processes share are counted once per process, so this is an upper bound."""


class LogFile:
    """Appends a terminal's output as plain lines: escapes removed, only the last state of a redrawn line kept."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = open(path, "a", encoding="utf-8")
        self._pending = b""

    def write(self, data: bytes) -> None:
        """Take the next bytes; whole lines are written at once."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._line(line)
        self._file.flush()

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip("\r")
        self._file.write(_ESCAPES.sub("", text.rsplit("\r", 1)[-1]).rstrip() + "\n")

    def close(self) -> None:
        """Write what is pending and close."""
        if self._pending:
            self._line(self._pending)
        self._file.close()


def run_worker(command: Sequence[str], log: Path, on_sample: Callable[[float, int], None] | None = None) -> Outcome:
    """Run ``command`` to its end.

    Its output goes to our stderr and, as plain lines, to ``log`` (appended). On a terminal it gets a terminal of its
    own, so that progress bars stay alive. ``on_sample(seconds, peak_rss)`` is called twice a second. The number of a
    pipe is appended to the command: it closes when we die. Ctrl-C asks the process group to end, then insists.
    """
    reader, writer = pty.openpty() if sys.stderr.isatty() else os.pipe()
    if sys.stderr.isatty():
        _set_width(writer)
    alive, our_end = os.pipe()  # nobody writes: the read end sees the end of file when this process is gone
    started = time.monotonic()
    process = subprocess.Popen(
        [*command, str(alive)],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        start_new_session=True,
        pass_fds=(alive,),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    os.close(writer)
    os.close(alive)
    copier = threading.Thread(target=_copy, args=(reader, log), daemon=True)
    copier.start()
    peak = 0
    try:
        while True:
            peak = max(peak, _tree_rss(process.pid))
            if on_sample:
                on_sample(time.monotonic() - started, peak)
            try:
                code = process.wait(_SAMPLE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
    except BaseException:
        _stop(process)
        raise
    finally:
        _kill_group(process.pid)
        copier.join(timeout=5)
        os.close(our_end)
    return Outcome(code, time.monotonic() - started, peak)


def _set_width(terminal: int) -> None:
    size = shutil.get_terminal_size()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))


def _copy(reader: int, log: Path) -> None:
    file = LogFile(log)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    try:
        while True:
            try:
                data = os.read(reader, 65536)
            except OSError:  # a terminal reports its closed other end as EIO
                break
            if not data:
                break
            file.write(data)
            sys.stderr.write(decoder.decode(data))
            sys.stderr.flush()
    finally:
        file.close()
        os.close(reader)


def _tree_rss(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_PATIENCE_SECONDS)
    except (ProcessLookupError, subprocess.TimeoutExpired, KeyboardInterrupt):
        pass


def _kill_group(group: int) -> None:
    """End whatever the worker left behind (it led its own session)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
