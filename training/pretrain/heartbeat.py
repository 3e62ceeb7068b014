"""Finds the rank that hangs: every rank tells what it is doing, and each watches its own progress.

In a collective all ranks wait for one, so all seem to stand still. Two things tell them apart. A thread of each rank
writes a sign of life every few seconds: a stopped or dead process writes none. And each says how far it has come: the
one that hangs before the collective is behind the others.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from millbase.atomic import write_json

EXIT_HANG = 76
"""Exit status of a rank that found a hang."""


@dataclass(frozen=True)
class Beat:
    """A rank's sign of life."""

    rank: int
    host: str
    pid: int
    progress: int
    """Phases begun since the start."""
    phase: str
    """What it is doing, such as "step 12: update"."""
    alive: float
    """Seconds since the epoch when this was written."""


def blame(beats: list[Beat], ranks: int, now: float, silence: float) -> str:
    """Which rank hangs, in words. `silence`: seconds without a sign of life after which a process counts as stopped."""
    missing = sorted(set(range(ranks)) - {beat.rank for beat in beats})
    if missing:
        return f"{_ranks(missing)} never started"
    silent = [beat for beat in beats if now - beat.alive > silence]
    suspects = silent or [b for b in beats if b.progress == min(other.progress for other in beats)]
    names = "; ".join(f"rank {b.rank} (process {b.pid} on {b.host}) in {b.phase}" for b in suspects)
    if silent:
        return f"no sign of life of {names}: the process is stopped, or its machine is down"
    if len(suspects) == ranks:
        return f"all ranks hang in the same phase, {suspects[0].phase}"
    return f"the others wait for {names}"


def _ranks(numbers: list[int]) -> str:
    return f"rank{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


class Heartbeat:
    """One rank's sign of life and watch."""

    def __init__(self, folder: Path, rank: int, ranks: int, minutes: float, end: Callable[[int], None] = os._exit):
        """`folder` is shared by all ranks; `minutes` without progress is a hang; `end` leaves the process."""
        self.folder, self.rank, self.ranks, self.limit = folder, rank, ranks, minutes * 60
        self.interval = min(10.0, self.limit / 8)
        self._end, self._progress, self._phase = end, 0, "start"
        self._since = time.monotonic()
        self._stopped = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._write()
        self._thread.start()

    def phase(self, name: str) -> None:
        """The rank begins something; all ranks begin the same things in the same order."""
        self._progress, self._phase = self._progress + 1, name
        self._since = time.monotonic()

    def stop(self) -> None:
        """No longer watch."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self.interval):
            self._write()
            if time.monotonic() - self._since > self.limit:
                reason = blame(self.read(), self.ranks, time.time(), silence=4 * self.interval)
                print(
                    f"error: no progress for {self.limit / 60:g} minutes (guard.hang_minutes): {reason}; "
                    "all ranks are stopped, the same command continues from the last checkpoint",
                    file=sys.stderr,
                    flush=True,
                )
                self._end(EXIT_HANG)
                return

    def _write(self) -> None:
        beat = Beat(self.rank, socket.gethostname(), os.getpid(), self._progress, self._phase, time.time())
        write_json(self.folder / f"rank_{self.rank:05d}.json", asdict(beat))

    def read(self) -> list[Beat]:
        """The last sign of life of every rank."""
        beats = []
        for file in sorted(self.folder.glob("rank_*.json")):
            try:
                beats.append(Beat(**json.loads(file.read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError):  # being replaced
                continue
        return beats
