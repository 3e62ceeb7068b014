"""Several stages at once: which may start, a thread for each that runs, and what the threads report.

Only the main thread decides and records. A worker's thread starts the process, waits for it (the kernel ends the
process when its thread ends, so the thread stays) and puts what happens into a queue that the main thread reads.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from llmill.recipe.graph import Graph
from llmill.recipe.process import Outcome, Sample, Stop, run_worker


class Order:
    """What is still to do, in the order of the graph."""

    def __init__(self, graph: Graph, names: Sequence[str]) -> None:
        self._waiting = list(names)
        self._unfinished = list(names)
        self._before: dict[str, set[str]] = {}
        for index, name in enumerate(names):
            stage = graph.stages[name]
            direct = names[:index] if stage.reads_run else stage.needs
            self._before[name] = set(direct).union(*(self._before[other] for other in direct))

    def take(self) -> str | None:
        """The first stage whose upstream stages are all finished; None when there is none just now."""
        unfinished = set(self._unfinished)
        for name in self._waiting:
            if not self._before[name] & unfinished:
                self._waiting.remove(name)
                return name
        return None

    def finished(self, name: str) -> None:
        """A stage is done, or was skipped."""
        self._unfinished.remove(name)

    def alone(self, name: str) -> bool:
        """Whether no other stage can run beside this one: all that is unfinished waits for it."""
        return all(name in self._before[other] for other in self._unfinished if other != name)


@dataclass(frozen=True)
class Event:
    """A stage's figures while it runs, how it ended, or why it could not be run."""

    name: str
    what: Sample | Outcome | BaseException


class Workers:
    """The running stages, each in a thread and a process of its own."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._threads: dict[str, threading.Thread] = {}
        self._stop = Stop()

    @property
    def running(self) -> list[str]:
        """Stages that were started and whose end has not been read."""
        return list(self._threads)

    def start(self, name: str, command: Sequence[str], log: Path, *, shared: bool) -> None:
        """Start a stage's worker; ``shared``: others may write to the terminal meanwhile."""
        prefix = f"[{name}] " if shared else None

        def on_sample(sample: Sample) -> None:
            self._events.put(Event(name, sample))

        def work() -> None:
            if self._stop.asked:
                return
            try:
                what: Outcome | BaseException = run_worker(command, log, on_sample, prefix=prefix, stop=self._stop)
            except BaseException as error:
                what = error
            self._events.put(Event(name, what))

        self._threads[name] = threading.Thread(target=work, name=name)
        self._threads[name].start()

    def next(self) -> Event:
        """Wait for what happens next."""
        event = self._events.get()
        if not isinstance(event.what, Sample):
            self._threads.pop(event.name, None)
        return event

    def stop(self) -> list[Event]:
        """Stop everything that runs and wait for it; returns what had not been read."""
        self._stop.asked = True
        for thread in self._threads.values():
            if thread.is_alive():
                thread.join()
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        return events

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Inside, SIGINT and SIGTERM raise KeyboardInterrupt; once stopping has begun, they make it quick."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self._stop.asked:
                self._stop.insist = True
            else:
                self._stop.asked = True
                raise KeyboardInterrupt

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, handle) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
