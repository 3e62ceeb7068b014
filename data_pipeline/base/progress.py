"""A count of pages that workers add to and the parent shows."""

from __future__ import annotations

from multiprocessing.sharedctypes import Synchronized

_pages: Synchronized[int] | None = None


def share_counter(counter: Synchronized[int] | None) -> None:
    """Make `counter` the one this process adds to; None turns counting off."""
    global _pages
    _pages = counter


def count_pages(count: int) -> None:
    """`count` more pages were read by this process."""
    if _pages is not None and count:
        with _pages.get_lock():
            _pages.value += count
