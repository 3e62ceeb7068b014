"""Audits as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_pipeline.audit.rates import CHAIN, Rate


def good_table(rates: Sequence[Rate]) -> str:
    """False drops in per cent: a row per filter and rule, a column per page type; the interval of all filters below."""
    kinds = list(dict.fromkeys(rate.kind for rate in rates))
    names = list(dict.fromkeys(rate.filter for rate in rates))
    by_key = {(rate.filter, rate.kind): rate for rate in rates}
    rows = [["false drops, %", *kinds], ["pages", *(str(by_key[names[0], kind].pages) for kind in kinds)]]
    for name in names:
        shown = "all filters in order" if name == CHAIN else name if "." not in name else f"  {name.partition('.')[2]}"
        rows.append([shown, *(_percent(by_key[name, kind].share) for kind in kinds)])
        if name == CHAIN:
            rows.append(["  95% interval", *(_interval(by_key[name, kind].ci95) for kind in kinds)])
    return _align(_by_step(rows, names))


def truth_table(rows: Sequence[dict[str, Any]]) -> str:
    """Precision and recall of each filter, and the share of each kind of page that it drops."""
    kinds = list(rows[0]["dropped_by_kind"])
    table = [["dropped, %", "precision", "95%", "recall", "95%", *kinds]]
    for row in rows:
        table.append(
            [
                "all filters in order" if row["filter"] == CHAIN else row["filter"],
                _percent(row["precision"]),
                _interval(row["precision_ci95"]),
                _percent(row["recall"]),
                _interval(row["recall_ci95"]),
                *(_percent(row["dropped_by_kind"][kind]) for kind in kinds),
            ]
        )
    return _align(table)


def _by_step(rows: list[list[str]], names: list[str]) -> list[list[str]]:
    """Rows of rules under the row of their step."""
    head, body = rows[:4], rows[4:]
    keyed = list(zip(names[1:], body, strict=True))
    steps = [name for name, _ in keyed if "." not in name]
    return head + [row for step in steps for name, row in keyed if name == step or name.startswith(step + ".")]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _interval(bounds: list[float] | None) -> str:
    return "-" if bounds is None else f"{100 * bounds[0]:.1f}-{100 * bounds[1]:.1f}"


def _align(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    )
