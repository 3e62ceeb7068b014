"""The loop: stages in order, as many at once as allowed, each in its own process, with a lock on the run directory."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmill.recipe.graph import Graph, Stage
from llmill.recipe.keys import Digests
from llmill.recipe.plan import STATE_DIRECTORY, Decision, decide, mark_started, plan, read_state, state_path
from llmill.recipe.process import Outcome, Sample
from llmill.recipe.record import RunRecord, unmet_requirement
from llmill.recipe.schedule import Event, Order, Workers
from llmill.recipe.summary import print_plan, print_summary, say
from millbase.atomic import write_json
from millbase.errors import StageError, UserError

EXIT_FAILED = 1
"""A stage failed."""
EXIT_GATES = 3
"""A gate did not pass; every stage finished, or a gate that is required stopped the run."""
EXIT_INTERRUPTED = 130
_RECORD_SECONDS = 5.0


@dataclass(frozen=True)
class RunOptions:
    """What the command line may ask of a run."""

    start: str | None = None
    """``--from``: rerun this stage and all that needs it."""
    until: str | None = None
    """``--until``: run only this stage and what it needs."""
    dry_run: bool = False
    """Print what would run and why; change nothing."""
    ignore_code: bool = False
    """Do not rerun finished stages only because their code changed."""
    jobs: int | None = None
    """``--jobs``: stages that may run at once; the recipe's ``jobs`` when None."""
    verbose: bool = True
    """Show the output of stages on the terminal."""


def run_recipe(graph: Graph, options: RunOptions | None = None) -> int:
    """Run a recipe. Returns the exit status: 0, 1 (a stage failed), 3 (a gate failed) or 130 (interrupted).

    Raises ConfigError for unknown stage names and StageError when another run holds the directory.
    """
    options = options or RunOptions()
    selected = graph.ancestors(options.until) if options.until else set(graph.stages)
    forced = graph.descendants(options.start) & selected if options.start else set()
    if options.start and options.start not in selected:
        raise StageError(f"--from {options.start}: --until {options.until} does not need it, so nothing would be rerun")
    state = graph.out / STATE_DIRECTORY
    if options.dry_run:
        decisions = plan(graph, Digests(state / "digests.json"), selected, forced, ignore_code=options.ignore_code)
        print_plan(graph, decisions)
        return 0
    state.mkdir(parents=True, exist_ok=True)
    with _locked(graph.out):
        return _Run(graph, options, selected, forced).run()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with open(directory / STATE_DIRECTORY / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError(
                f"another llmill is running in {str(directory)!r}; wait for it, stop it, or give another --out"
            ) from None
        yield


class _Run:
    """One run of a graph; what the loop carries along."""

    def __init__(self, graph: Graph, options: RunOptions, selected: set[str], forced: set[str]) -> None:
        self.graph, self.options = graph, options
        self.names = [name for name in graph.stages if name in selected]
        self.jobs = options.jobs or graph.recipe.jobs
        self.order, self.workers = Order(graph, self.names), Workers()
        self.digests = Digests(graph.out / STATE_DIRECTORY / "digests.json")
        self.record = RunRecord(graph, sys.argv)
        continued = self.record.interrupted_force(options.start) if options.start else None
        pending, begun = (forced, []) if continued is None else (forced & set(continued[0]), continued[1])
        self.pending = [name for name in self.names if name in pending]
        self.begun = [name for name in begun if name in pending]
        self.record.set_forced(options.start, self.pending, self.begun)
        self.ran: set[str] = set()
        self.failed = False
        self.stopped = False
        """A required gate did not pass: no other stage starts."""
        self.written = time.monotonic()

    def run(self) -> int:
        """All stages; see ``run_recipe``."""
        self.record.write()
        with self.workers.signals():
            interrupted = self._all()
            status = "interrupted" if interrupted else "failed" if self.failed or self.stopped else "finished"
            self.record.finish(status)
        print_summary(self.graph, self.record.data, self.ran, self.record.together)
        if interrupted:
            return EXIT_INTERRUPTED
        if self.failed:
            return EXIT_FAILED
        mine = [gate for gate in self.record.data["gates"] if gate["stage"] in self.names]
        return 0 if all(gate["passed"] for gate in mine) else EXIT_GATES

    def _all(self) -> bool:
        """Run everything; whether we were interrupted. Whatever happens, no worker is left."""
        try:
            try:
                self._start_ready()
                while self.workers.running:
                    self._note(self.workers.next())
                    self._start_ready()
            except UserError:
                self.failed = True
                while self.workers.running:
                    self._note(self.workers.next())
                self.record.finish("failed")
                raise
        except KeyboardInterrupt:
            self._interrupt()
            return True
        finally:
            self.workers.stop()
        return False

    def _start_ready(self) -> None:
        """Start, or skip, what can be, in order; after a failure nothing new."""
        while not (self.failed or self.stopped) and len(self.workers.running) < self.jobs:
            name = self.order.take()
            if name is None:
                return
            self._stage(self.graph.stages[name], f"[{self.names.index(name) + 1}/{len(self.names)}]")

    def _stage(self, stage: Stage, position: str) -> None:
        decision = decide(stage, self.graph, self.digests, forced=self.pending, ignore_code=self.options.ignore_code)
        self.digests.save()
        if decision.action == "skip":
            say(f"{position} {stage.name}: skipped, {decision.reason}")
            self.record.skip(stage.name, decision.reason)
            self.order.finished(stage.name)
            self._judge(stage.name)
            return
        log = self._log(stage.name)
        say(f"{position} {stage.name} ({stage.kind.name}): {decision.reason}", style="bold cyan")
        self._prepare(stage, decision, log)
        job = state_path(self.graph, stage.name, "job")
        command = [sys.executable, "-m", "llmill.recipe.worker", str(job)]
        self.workers.start(stage.name, command, log, shared=self.jobs > 1 and not self.order.alone(stage.name))

    def _log(self, name: str) -> Path:
        return self.graph.out / "logs" / f"{name}.log"

    def _prepare(self, stage: Stage, decision: Decision, log: Path) -> None:
        assert decision.key is not None, "a stage runs only after its upstream stages"
        # a forced stage starts from nothing once; after an interruption of the forced run it continues
        first_time = stage.name in self.pending and stage.name not in self.begun
        mark_started(self.graph, stage, decision.key, fresh=first_time)
        if first_time:
            self.begun.append(stage.name)
        state_path(self.graph, stage.name, "error").unlink(missing_ok=True)
        job = {
            "kind": asdict(stage.kind),
            "config": stage.config.to_dict(),
            "out": str(stage.out),
            "key": asdict(decision.key),
            "finished": str(state_path(self.graph, stage.name)),
            "error": str(state_path(self.graph, stage.name, "error")),
            "runner": os.getpid(),
        }
        write_json(state_path(self.graph, stage.name, "job"), job)
        _mark_log(log, stage.name, decision.reason)
        self.record.begin(stage.name, decision.key, decision.reason, log)

    def _note(self, event: Event) -> None:
        """Record what a worker reported."""
        if isinstance(event.what, BaseException):
            raise event.what
        if isinstance(event.what, Outcome):
            self._ended(event.name, event.what)
            return
        self.record.sample(event.name, event.what)
        if time.monotonic() - self.written > _RECORD_SECONDS:
            self.written = time.monotonic()
            self.record.write()

    def _ended(self, name: str, outcome: Outcome) -> None:
        self._measure(name, outcome)
        error = _failure(outcome, state_path(self.graph, name, "error"))
        self.record.end(name, "failed" if error else "finished", error)
        if error:
            self.failed = True
            say(f"error: stage {name!r} failed: {error} (full log: {self._log(name)})", style="bold red")
            if self.workers.running:
                say(f"no other stage starts; waiting for {', '.join(self.workers.running)}")
            return
        if self.jobs > 1:
            seconds = self.record.data["stages"][name]["seconds"]
            say(f"{name}: finished in {seconds:,.1f} seconds", style="green")
        self.ran.add(name)
        self.order.finished(name)
        if name in self.pending:
            self.pending.remove(name)
            self.begun.remove(name)
            self.record.set_forced(self.options.start, self.pending, self.begun)
            self.record.write()
        self._judge(name)

    def _judge(self, name: str) -> None:
        """Stop the run when a gate that the stage requires did not pass."""
        unmet = unmet_requirement(self.graph.stages[name])
        if unmet is not None:
            self.stopped = True
            say(f"stopped: {name} requires the gate {unmet!r} to pass, and it did not", style="bold red")

    def _measure(self, name: str, outcome: Outcome) -> None:
        state = read_state(self.graph, name) if outcome.returncode == 0 else None
        peak = max(outcome.peak_rss_bytes, (state or {}).get("peak_rss_bytes", 0))  # short stages fall between samples
        self.record.sample(name, Sample(outcome.seconds, 0, peak))

    def _interrupt(self) -> None:
        """Stop what runs. What was done just before counts as finished, the rest as interrupted."""
        running = self.workers.running
        if running:
            say(f"interrupted: stopping {', '.join(running)}", style="yellow")
        for event in self.workers.stop():
            if isinstance(event.what, Outcome) and event.what.returncode == 0:
                self._ended(event.name, event.what)
                running.remove(event.name)
            elif isinstance(event.what, Outcome):
                self._measure(event.name, event.what)
        for name in running:
            self.record.end(name, "interrupted")


def _mark_log(log: Path, name: str, reason: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {name}: {reason}\n")


def _failure(outcome: Outcome, error_file: Path) -> str | None:
    """One line on why a worker failed; None when it did not."""
    if outcome.returncode == 0:
        return None
    try:
        reported: dict[str, Any] = json.loads(error_file.read_text(encoding="utf-8"))
        return str(reported["error"])
    except (OSError, ValueError, KeyError):
        pass
    if outcome.returncode >= 0:
        return f"its process ended with exit status {outcome.returncode} and no message"
    name = signal.Signals(-outcome.returncode).name
    memory = f"peak memory {outcome.peak_rss_bytes / 2**30:.1f} GiB"
    cause = "often the kernel, out of memory" if name == "SIGKILL" else "a crash in native code or an outside signal"
    return f"its process was ended by {name} ({cause}; {memory})"
