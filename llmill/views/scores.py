"""One evaluation on the terminal: its scores with their intervals, its comparisons, its gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmill.recipe.summary import format_value, print_gates
from llmill.views.show import console

_STYLES = {"better": "green", "worse": "red"}


def print_scores(path: str | Path, stderr: bool = False) -> None:
    """Print the scores artifact `path`. ArtifactError when it is none."""
    from evaluation.compare import conclusion
    from evaluation.scores import Comparison, read_scores

    found = read_scores(path)
    document = json.loads((found.path / "scores.json").read_text(encoding="utf-8"))
    output = console(stderr)
    _print(output, f"{path}", ("task", "metric", "score [95% interval]", "n"), [_score(one) for one in found.scores])
    rows = []
    for one in (Comparison(**{**row, "ci95": tuple(row["ci95"])}) for row in document["comparisons"]):
        # those that were tested together by the adjusted p, the others by their interval
        tested = "p_adjusted" in one.details
        verdict = conclusion(one) if tested else one.verdict.replace("no difference", "cannot tell")
        style = _STYLES.get(verdict, "dim")
        rows.append([one.name, format_value(one.value, one.ci95), str(one.n), Text(verdict, style=style)])
    if rows:
        _print(output, "comparisons", ("what", "difference or ratio [95% interval]", "n", "this model is"), rows)
    print_gates(output, [{"stage": document["stage"], **gate} for gate in document["gates"]])
    for file, count in document["skipped"].items():
        output.print(Text(f"{count} rows of {file} could not be used"))


def _score(one: Any) -> list[str]:
    clean = (one.details or {}).get("clean")
    shown = format_value(one.value, one.ci95)
    if clean and clean.get("value") is not None:
        shown += f", {format_value(clean['value'])} without contaminated items"
    return [one.task, "" if one.metric == one.task else one.metric, shown, str(one.n)]


def _print(output: Console, title: str, columns: tuple[str, ...], rows: list[list[Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "n" else "left")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    output.print(table)
