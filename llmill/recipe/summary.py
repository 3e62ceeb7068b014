"""What a run prints: the plan of a dry run, the table at the end, every gate with its verdict."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmill.recipe.graph import Graph
from llmill.recipe.plan import Decision
from llmill.views.show import console

_STYLES = {
    "finished": "green",
    "skipped": "dim",
    "failed": "bold red",
    "interrupted": "yellow",
    "run": "bold cyan",
    "maybe": "yellow",
    "skip": "dim",
}


def say(text: str, style: str = "") -> None:
    """One line on stderr, never wrapped or read as markup."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(text, style=style))
    sys.stderr.flush()


def print_plan(graph: Graph, decisions: Mapping[str, Decision]) -> None:
    """The graph with what would run and why, on stdout."""
    table = Table(title=f"{graph.recipe.name} in {graph.out}", box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("#", "stage", "kind", "needs", "would", "why"):
        table.add_column(column, overflow="fold")
    for index, (name, stage) in enumerate(graph.stages.items()):
        decision = decisions.get(name)
        action = decision.action if decision else "not selected"
        table.add_row(
            str(index + 1),
            name,
            stage.kind.name,
            ", ".join(stage.needs) or "-",
            Text({"maybe": "run if changed"}.get(action, action), style=_STYLES.get(action, "dim")),
            Text(decision.reason if decision else "--until does not need it"),
        )
    console().print(table)


def print_summary(graph: Graph, record: Mapping[str, Any], ran: set[str], together: int) -> None:
    """Stages with status, seconds and peak memory; then every gate; then where to look. On stdout.

    ``together``: the largest memory of the stages that ran at once. The time of the run is that of the clock.
    """
    output = console()
    table = Table(title=f"{record['name']}: {record['status']}", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("stage")
    table.add_column("status")
    table.add_column("seconds", justify="right")
    table.add_column("peak memory", justify="right")
    for name, stage in record["stages"].items():
        known = stage["seconds"] > 0
        status = Text(stage["status"], style=_STYLES.get(stage["status"], ""))
        seconds = f"{stage['seconds']:,.1f}" if known else "-"
        table.add_row(name, status, seconds, f"{stage['peak_rss_bytes'] / 2**20:,.0f} MiB" if known else "-")
    built = [record["stages"][name] for name in ran]
    if built:
        peak = max(together, *(stage["peak_rss_bytes"] for stage in built))
        table.add_section()
        table.add_row("this run", "", f"{record['seconds']:,.1f}", f"{peak / 2**20:,.0f} MiB")
    output.print(table)
    print_gates(output, record["gates"])
    reports = [stage for stage in graph.stages.values() if stage.kind.artifact == "report" and stage.out.is_dir()]
    for report in reports:
        output.print(Text(f"report: {report.out / 'index.html'}"), soft_wrap=True)
    output.print(Text(f"record: {graph.out / 'run.json'}"), soft_wrap=True)


def print_gates(output: Console, gates: list[dict[str, Any]]) -> None:
    """A table of gates, each a dictionary as in `run.json`; nothing where there are none."""
    if not gates:
        return
    passed = sum(bool(gate["passed"]) for gate in gates)
    table = Table(title=f"gates: {passed} of {len(gates)} passed", box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("verdict", "stage", "gate", "value", "required"):
        table.add_column(column, overflow="fold")
    for gate in gates:
        verdict = Text("passed", style="green") if gate["passed"] else Text("FAILED", style="bold red")
        value = Text(format_value(gate.get("value"), gate.get("ci95")))
        table.add_row(verdict, gate["stage"], Text(gate["name"]), value, Text(str(gate.get("requirement", ""))))
    output.print(table)


def format_value(value: Any, interval: Any = None) -> str:
    """``0.65 [0.61, 0.69]``; a dash for what is missing."""
    if not isinstance(value, (int, float)):
        return "-" if value is None else str(value)
    shown = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(interval, (list, tuple)) and len(interval) == 2 and all(item is not None for item in interval):
        return f"{shown} [{interval[0]:.3g}, {interval[1]:.3g}]"
    return shown
