"""The contamination of an evaluation on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from llmill.contamination.measure import read_contamination
from llmill.recipe.summary import format_value
from llmill.views.show import console


def print_contamination(path: Path) -> None:
    """Print each score with its contaminated share and its clean score, on stdout."""
    table = Table(box=box.SIMPLE_HEAD, title="found in the training corpus", title_justify="left")
    for column in ("task", "metric", "score", "contaminated [95%]", "clean score [95%]", "not checked"):
        table.add_column(column, overflow="fold")
    for row in read_contamination(path)["scores"]:
        share, clean = row["contaminated"], row["clean"]
        kept = "none left" if clean is None else format_value(clean["value"], [clean["low"], clean["high"]])
        cells = [row["task"], row["metric"], f"{row['value']:.4g}"]
        cells += [format_value(share["value"], [share["low"], share["high"]]), kept, str(row["unchecked"])]
        table.add_row(*map(Text, cells))
    console().print(table)
