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
_TERMINAL = threading.Lock()
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


@dataclass(frozen=True)
class Sample:
    """A running worker's figures."""

    seconds: float
    """Since it started."""
    rss_bytes: int
    """Resident memory of the process and its descendants now."""
    peak_rss_bytes: int
    """The largest so far."""


@dataclass
class Stop:
    """Asks workers that run in other threads to end. Plain flags, so that a signal handler may set them."""

    asked: bool = False
    """End: SIGTERM to the worker's process group, SIGKILL when it takes too long."""
    insist: bool = False
    """Do not wait for it any longer."""


class PlainLines:
    """Turns a terminal's output into plain lines: escapes removed, only the last state of a redrawn line kept."""

    def __init__(self, sink: Callable[[str], object]) -> None:
        self._sink = sink
        self._pending = b""

    def write(self, data: bytes) -> None:
        """Take the next bytes; complete lines go to the sink, each with its line end."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip("\r")
        self._sink(_ESCAPES.sub("", text.rsplit("\r", 1)[-1]).rstrip() + "\n")

    def close(self) -> None:
        """Pass on what is pending."""
        if self._pending:
            self._line(self._pending)
            self._pending = b""


class LogFile:
    """Appends a terminal's output to a file as plain lines."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = open(path, "a", encoding="utf-8")
        self._lines = PlainLines(self._file.write)

    def write(self, data: bytes) -> None:
        """Take the next bytes; whole lines are written at once."""
        self._lines.write(data)
        self._file.flush()

    def close(self) -> None:
        """Write what is pending and close."""
        self._lines.close()
        self._file.close()


class LiveOutput:
    """Passes output on to our stderr as it comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        sys.stderr.write(self._decoder.decode(data))
        sys.stderr.flush()

    def close(self) -> None:
        """Nothing is ever pending."""


class PrefixedOutput(PlainLines):
    """Complete plain lines on our stderr, each with a prefix: for several workers that share a terminal."""

    def __init__(self, prefix: str) -> None:
        super().__init__(self._show)
        self._prefix = prefix

    def _show(self, line: str) -> None:
        with _TERMINAL:
            sys.stderr.write(self._prefix + line)
            sys.stderr.flush()


def run_worker(
    command: Sequence[str],
    log: Path,
    on_sample: Callable[[Sample], None] | None = None,
    *,
    prefix: str | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Run ``command`` to its end, in any thread; the kernel ties the worker to the thread that calls this.

    Its output goes to our stderr and, as plain lines, to ``log`` (appended). On a terminal it gets a terminal of its
    own, so that progress bars stay alive; with ``prefix`` it gets a pipe, and each complete line is shown with the
    prefix. ``on_sample`` is called twice a second. The number of a pipe is appended to the command: it closes when
    we die. Ctrl-C here, or ``stop`` from another thread, asks the process group to end, then insists.
    """
    stop = stop or Stop()
    terminal = prefix is None and sys.stderr.isatty()
    reader, writer = pty.openpty() if terminal else os.pipe()
    if terminal:
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
    shown = LiveOutput() if prefix is None else PrefixedOutput(prefix)
    copier = threading.Thread(target=_copy, args=(reader, log, shown), daemon=True)
    copier.start()
    peak = 0
    try:
        while not stop.asked:
            now = _tree_rss(process.pid)
            peak = max(peak, now)
            if on_sample:
                on_sample(Sample(time.monotonic() - started, now, peak))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SAMPLE_SECONDS)
                break
        else:
            _stop(process, stop)
    except BaseException:
        _stop(process, stop)
        raise
    finally:
        _kill_group(process.pid)
        copier.join(timeout=5)
        os.close(our_end)
    return Outcome(process.wait(), time.monotonic() - started, peak)


def _set_width(terminal: int) -> None:
    size = shutil.get_terminal_size()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))


def _copy(reader: int, log: Path, shown: LiveOutput | PrefixedOutput) -> None:
    file = LogFile(log)
    try:
        while True:
            try:
                data = os.read(reader, 65536)
            except OSError:  # a terminal reports its closed other end as EIO
                break
            if not data:
                break
            file.write(data)
            shown.write(data)
    finally:
        file.close()
        shown.close()
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


def _stop(process: subprocess.Popen[bytes], stop: Stop) -> None:
    """Ask the worker's group to end and wait a while; what is left is killed by the caller."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with contextlib.suppress(ProcessLookupError, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGTERM)
        while process.poll() is None and not stop.insist and time.monotonic() < deadline:
            time.sleep(0.05)


def _kill_group(group: int) -> None:
    """End whatever the worker left behind (it led its own session)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
