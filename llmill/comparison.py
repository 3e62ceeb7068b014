"""Two evaluations side by side: the paired difference of every metric they share."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmill.recipe.summary import format_value
from millbase.errors import ArtifactError

_STYLES = {"better": "green", "worse": "red"}


def print_comparison(scores_a: str | Path, scores_b: str | Path) -> None:
    """Print A minus B with intervals on stdout. ArtifactError when they share no metric."""
    from evaluation import compare

    comparisons = compare(scores_a, scores_b, other=str(scores_b))
    if not comparisons:
        raise ArtifactError(f"{str(scores_a)!r} and {str(scores_b)!r} share no metric with items; nothing to compare")
    title = f"{scores_a} minus {scores_b}, item by item"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in ("task", "metric", "difference [95% interval]", "n", "verdict on the first"):
        table.add_column(column, overflow="fold")
    for item in comparisons:
        verdict = Text(item.verdict, style=_STYLES.get(item.verdict, "dim"))
        table.add_row(
            Text(item.task), Text(item.metric), Text(format_value(item.value, item.ci95)), str(item.n), verdict
        )
    Console(highlight=False).print(table)
