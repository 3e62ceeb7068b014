"""Pages and bytes read so far, which workers add to and the parent shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized


@dataclass
class Counters:
    """Shared between the parent and its workers."""

    pages: Synchronized[int]
    bytes: Synchronized[int]


_SHOW_SECONDS = 0.5
_counters: Counters | None = None
_show: Callable[[], None] | None = None
_shown = 0.0
_size = _reached = 0


def share_counters(counters: Counters | None, show: Callable[[], None] | None = None) -> None:
    """Make `counters` the ones this process adds to; None turns counting off. `show` is called now and then: for a
    parent that does the work itself."""
    global _counters, _show, _shown
    _counters, _show, _shown = counters, show, 0.0  # what an earlier build showed does not silence this one


def count_pages(count: int) -> None:
    """`count` more pages were read by this process."""
    global _shown
    if _counters is not None and count:
        _add(_counters.pages, count)
        if _show is not None and time.monotonic() - _shown > _SHOW_SECONDS:
            _shown = time.monotonic()
            _show()


def start_task(size: int) -> None:
    """This process begins a task that reads `size` bytes."""
    global _size, _reached
    _size, _reached = size, 0


def reached(position: int) -> None:
    """The running task has read up to byte `position` of its file; positions past the file's end count as the end (they
    are such where a file is compressed as one piece)."""
    global _reached
    position = min(position, _size)
    if _counters is not None and position > _reached:
        _add(_counters.bytes, position - _reached)
        _reached = position


def end_task() -> None:
    """The running task is over: whatever it did not report counts as read."""
    reached(_size)


def _add(counter: Synchronized[int], count: int) -> None:
    with counter.get_lock():
        counter.value += count
