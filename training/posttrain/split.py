"""Choosing rows: a random share of them, and a held-out set that shares no prompt with training."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from millbase.errors import InputError
from millbase.seeds import derive_seed
from training.posttrain.data import Row


def take(rows: list[Row], share: float, limit: int | None, seed: int) -> list[Row]:
    """A random `share` of the rows, at most `limit`, in their old order; a smaller choice is part of a larger one."""
    count = max(1, round(share * len(rows)))
    count = min(count, limit) if limit is not None else count
    if count >= len(rows):
        return rows
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "take")))
    return [rows[index] for index in sorted(generator.permutation(len(rows))[:count])]


def repeat(rows: list[Row], weight: float, seed: int) -> list[Row]:
    """Every row floor(weight) times, and a random share of them, the rest of the weight, once more."""
    whole, rest = int(weight), weight - int(weight)
    drawn = take(rows, rest, None, seed) if int(rest * len(rows) + 0.5) else []
    return rows * whole + drawn


def is_held_out(row: Row, share: float) -> bool:
    """Whether `hold_out` with this `share` puts the row's prompt aside."""
    return _position(row) < share


def hold_out(rows: list[Row], share: float) -> tuple[list[Row], list[Row]]:
    """Split into (train, held out): rows of one prompt go to the same side, decided by a digest of the prompt's text.

    Raises InputError when one side would be empty.
    """
    train: list[Row] = []
    heldout: list[Row] = []
    for row in rows:
        (heldout if is_held_out(row, share) else train).append(row)
    if not train or not heldout:
        raise InputError(
            f"eval_share = {share:g} of {len(rows)} rows leaves nothing to "
            f"{'train on' if not train else 'validate on'}; change it or give eval_data"
        )
    return train, heldout


def _position(row: Row) -> float:
    """A number in [0, 1) from the first user message (the prompt) and what stands before it."""
    messages = row.get("prompt") or row["messages"]
    first_user = next((index for index, message in enumerate(messages) if message["role"] == "user"), 0)
    text = json.dumps([message["content"].strip() for message in messages[: first_user + 1]])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
