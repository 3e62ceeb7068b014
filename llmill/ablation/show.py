"""The verdict of an ablation on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from llmill.recipe.summary import format_value
from llmill.views.show import console, verdict_text


def print_verdict(path: Path) -> None:
    """Print the scores of both arms, their difference and the verdict, on stdout."""
    from evaluation.ablation import label, read_ablation

    found = read_ablation(path)
    name, other = found["arms"]
    table = Table(box=box.SIMPLE_HEAD, title=f"{name} minus {other}, {found['seeds']} seeds each", title_justify="left")
    for column in ("score", name, other, "difference [95% interval]", "items", "p", "detectable", f"{name} is"):
        table.add_column(column, overflow="fold")
    for row in found["scores"]:
        cells = [
            label(row["task"], row["metric"]),
            *(f"{mean:.4g}" for mean in row["means"]),
            format_value(row["difference"], row["ci95"]),
        ]
        cells += [str(row["items"]), *(_number(row[key]) for key in ("p_adjusted", "smallest_detectable"))]
        table.add_row(*map(Text, cells), verdict_text(row["verdict"]))
    output = console()
    output.print(table)
    output.print(Text(found["verdict"], style="bold"))


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.2g}"
