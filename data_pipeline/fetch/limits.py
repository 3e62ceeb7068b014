"""A polite rate, shared by all processes of this user on this machine through locked files.

Locks are the kernel's (flock): a killed process holds nothing back. Other machines of a cluster do not see them, so
there the limits of `FetchConfig` are each machine's share.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_pipeline.fetch.config import FetchConfig
from millbase.errors import InputError

_POLL_SECONDS = 0.02
_STALE_SECONDS = 7200.0
"""A turn further ahead was written before the machine was last started, for the clock counts from there."""


class Limits:
    """Turns and transfer slots for requests to one host."""

    def __init__(self, host: str, config: FetchConfig) -> None:
        self.config = config
        self.folder = _shared_folder() / re.sub(r"[^A-Za-z0-9.-]", "_", host)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Wait for a free slot and for this request's turn; the slot is held during the block."""
        with self._slot():
            self._wait_turn()
            yield

    def hold_off(self, seconds: float) -> None:
        """The host asked for quiet: no process starts a request to it for so long."""
        self._claim(time.monotonic() + seconds, spacing=0.0)

    def _wait_turn(self) -> None:
        spacing = 1.0 / self.config.requests_per_second if self.config.requests_per_second else 0.0
        start = self._claim(time.monotonic(), spacing)
        time.sleep(max(0.0, start - time.monotonic()))

    def _claim(self, earliest: float, spacing: float) -> float:
        """Take the next turn not before `earliest`; its time on the monotonic clock, which all processes share."""
        with open(self.folder / "next", "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            try:
                following = float(file.read())
            except ValueError:
                following = 0.0
            start = earliest if following > earliest + _STALE_SECONDS else max(earliest, following)
            file.truncate(0)
            file.write(f"{start + spacing:.6f}")
            return start

    @contextmanager
    def _slot(self) -> Iterator[None]:
        count = self.config.connections
        if count is None:
            yield
            return
        while True:
            for index in range(count):
                with open(self.folder / f"slot{(index + os.getpid()) % count}", "a") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    yield
                    return
            time.sleep(_POLL_SECONDS)


def _shared_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"llmill-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise InputError(f"{str(folder)!r} belongs to another user; remove it, or set TMPDIR to a folder of your own")
    return folder
