"""Tables for people: ruled and coloured on a terminal, plain columns of text elsewhere; numbers in few digits."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PLAIN_WIDTH = 10_000


def console(stderr: bool = False) -> Console:
    """Standard output, or standard error; on a pipe nothing is cut to a width."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, width=None if terminal else _PLAIN_WIDTH)


def print_json(value: Any) -> None:
    """`value` as JSON on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False))


def verdict_text(verdict: str) -> Text:
    """`better` in green, `worse` in red, what cannot be told without stress."""
    return Text(verdict, style={"better": "green", "worse": "red"}.get(verdict, "dim"))


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    left: Sequence[str] = (),
    stderr: bool = False,
) -> None:
    """A table; columns named in `left` and those of words are set to the left, numbers to the right."""
    output = console(stderr)
    plain = not output.is_terminal
    if title:
        output.print(Text(title, style="bold"))
    if not rows:
        output.print("(none)\n")
        return
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        numbers = all(isinstance(row[index], (int, float, type(None))) for row in rows) and name not in left
        table.add_column(name, justify="right" if numbers else "left", overflow="fold", no_wrap=plain)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(words(cell))) for cell in row))
    output.print(table)
    output.print()


def words(value: object) -> str:
    """A cell: numbers with separators and four significant digits, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:
            return f"{int(value):,}"
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)


def share(part: float, whole: float) -> str:
    """`12.3%`; nothing where there is no whole."""
    return f"{part / whole:.1%}" if whole else ""


def amount(size: float) -> str:
    """Bytes in the unit that fits: `1.5 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} PB"


def printable(text: str) -> str:
    """`text` without control characters, which could move the cursor or recolour the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def beginning(text: str, characters: int) -> str:
    """The first characters of `text`, marked where it goes on."""
    return text if len(text) <= characters else f"{text[:characters]} [... {len(text) - characters:,} more]"
