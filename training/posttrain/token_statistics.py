"""What a training set looks like in tokens, known before training starts: lengths, tokens trained on, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

_QUANTILES = {"median": 0.5, "p95": 0.95}


def token_statistics(
    lengths: Sequence[int], trained: Sequence[int] | None, max_length: int, tokens: int | None = None
) -> dict[str, Any]:
    """JSON values about rows of `lengths` tokens, of which `trained` are trained on (None: not known a row).

    `tokens` is what the model reads in all, where that is more than the lengths' sum: a row of several answers is as
    long as its longest. `at_limit` counts rows as long as `max_length`: most of them were cut.
    """
    sizes = np.asarray(lengths)
    figures: dict[str, Any] = {
        "rows": len(sizes),
        "tokens": int(sizes.sum()) if tokens is None else tokens,
        "length": {"mean": round(float(sizes.mean()), 1), **_quantiles(sizes), "max": int(sizes.max())},
        "at_limit": int((sizes >= max_length).sum()),
    }
    if trained is not None:
        count = np.asarray(trained)
        figures["trained_tokens"] = int(count.sum())
        figures["trained_length"] = {
            "mean": round(float(count.mean()), 1),
            **_quantiles(count),
            "max": int(count.max()),
        }
    return figures


def padding_share(lengths: Sequence[int], order: Sequence[int], micro_rows: int) -> float:
    """Share of padding among the tokens of all forward passes, rows in training order and `micro_rows` a pass."""
    sizes = np.asarray(lengths)[np.asarray(order)]
    real = padded = 0
    for first in range(0, len(sizes), micro_rows):
        part = sizes[first : first + micro_rows]
        real += int(part.sum())
        padded += int(part.max()) * len(part)
    return 1 - real / padded


def in_words(what: str, figures: dict[str, Any]) -> str:
    """One line for people."""
    length = figures["length"]
    line = (
        f"{what}: {figures['rows']:,} rows, {figures['tokens']:,} tokens; length {length['mean']:g} on average, "
        f"median {length['median']}, 95% up to {length['p95']}, longest {length['max']}"
    )
    if "trained_tokens" in figures:
        line += f"; {figures['trained_tokens']:,} tokens trained on ({figures['trained_length']['mean']:g} a row)"
    return line


def _quantiles(sizes: np.ndarray) -> dict[str, int]:
    ordered = np.sort(sizes)
    return {name: int(ordered[math.ceil(share * len(ordered)) - 1]) for name, share in _QUANTILES.items()}
