"""Progress with rate and time left: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_PLAIN_EVERY_SECONDS = 10.0


class Bar(Protocol):
    """What a stage reports to."""

    def advance(self, count: float = 1) -> None:
        """``count`` more units are done."""

    def note(self, text: str) -> None:
        """A short state shown beside the bar, such as the current loss."""


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {self.unit}/s" if speed else f"- {self.unit}/s", style="cyan")


class _RichBar:
    def __init__(self, bars: Progress, task: int) -> None:
        self._bars, self._task = bars, task

    def advance(self, count: float = 1) -> None:
        self._bars.advance(self._task, count)  # type: ignore[arg-type]

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=text)  # type: ignore[arg-type]


class _PlainBar:
    def __init__(self, description: str, total: float | None, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done, self.text = 0.0, ""
        self.started = self.printed = time.monotonic()

    def advance(self, count: float = 1) -> None:
        self.done += count
        if time.monotonic() - self.printed >= _PLAIN_EVERY_SECONDS:
            self.print()

    def note(self, text: str) -> None:
        self.text = text

    def print(self, finished: bool = False) -> None:
        self.printed = time.monotonic()
        elapsed = max(self.printed - self.started, 1e-9)
        rate = self.done / elapsed
        of = f"/{self.total:,.0f}" if self.total else ""
        left = f", {(self.total - self.done) / rate:.0f} s left" if self.total and rate and not finished else ""
        note = f", {self.text}" if self.text else ""
        end = f" in {elapsed:.1f} s" if finished else ""
        print(
            f"{self.description}: {self.done:,.0f}{of} {self.unit}{end} ({rate:,.1f}/s{left}){note}",
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def progress(description: str, total: float | None = None, unit: str = "items") -> Iterator[Bar]:
    """``with progress("reading", total=n, unit="pages") as bar: bar.advance()``; writes to stderr."""
    if not sys.stderr.isatty():
        plain = _PlainBar(description, total, unit)
        yield plain
        plain.print(finished=True)
        return
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=60) as bars:
        yield _RichBar(bars, bars.add_task(description, total=total, note=""))
