"""Random shares and held-out rows."""

from __future__ import annotations

import pytest

from millbase.errors import InputError
from training.posttrain.split import hold_out, take

from .conftest import pairs, sums


def test_take_is_random_ordered_and_nested() -> None:
    rows = [{"n": n} for n in range(100)]
    small, large = take(rows, 0.2, None, seed=3), take(rows, 0.5, None, seed=3)
    assert len(small) == 20
    assert [row["n"] for row in small] == sorted(row["n"] for row in small)
    assert {row["n"] for row in small} < {row["n"] for row in large}
    assert small == take(rows, 1.0, 20, seed=3)
    assert small != take(rows, 0.2, None, seed=4)
    assert take(rows, 1.0, None, seed=3) == rows


def test_held_out_prompts_are_the_same_in_every_stage() -> None:
    conversations, preferences = sums(300), pairs(300, seed=5)
    train, heldout = hold_out(conversations, 0.2)
    train_pairs, heldout_pairs = hold_out(preferences, 0.2)
    prompts = {row["messages"][0]["content"] for row in train} | {row["prompt"][0]["content"] for row in train_pairs}
    held = {row["messages"][0]["content"] for row in heldout} | {row["prompt"][0]["content"] for row in heldout_pairs}
    assert not prompts & held
    assert 0.05 < len(heldout) / 300 < 0.4
    assert len(train) + len(heldout) == 300


def test_nothing_to_hold_out() -> None:
    with pytest.raises(InputError, match=r"eval_share = 1e-06 of 10 rows leaves nothing to validate on"):
        hold_out(sums(10), 1e-6)
