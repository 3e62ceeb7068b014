"""The order of training rows does not depend on anything but rows, batch size and seed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from training.posttrain.order import TrainingOrder

LENGTHS = random.Random(7).choices(range(5, 60), k=103)


def test_a_longer_run_begins_the_same() -> None:
    short = list(TrainingOrder(LENGTHS, batch_size=8, steps=11, seed=1, window=4))
    long = list(TrainingOrder(LENGTHS, batch_size=8, steps=50, seed=1, window=4))
    assert long[: len(short)] == short
    assert len(short) == 88


@pytest.mark.parametrize("window", [1, 4])
def test_every_row_once_an_epoch(window: int) -> None:
    order = list(TrainingOrder(LENGTHS, batch_size=103, steps=3, seed=1, window=window))
    for epoch in range(3):
        assert sorted(order[epoch * 103 : (epoch + 1) * 103]) == list(range(103))
    assert order[:103] != order[103:206]


def test_another_seed_gives_another_order() -> None:
    first, second = (list(TrainingOrder(LENGTHS, 8, 12, seed=seed)) for seed in (1, 2))
    assert first != second


def test_a_window_saves_padding_and_keeps_its_rows() -> None:
    def padded(order: list[int]) -> int:
        batches = np.asarray([LENGTHS[row] for row in order]).reshape(-1, 8)
        return int((batches.max(axis=1) * 8).sum())

    plain = list(TrainingOrder(LENGTHS, 8, 12, seed=1, window=1))
    grouped = list(TrainingOrder(LENGTHS, 8, 12, seed=1, window=4))
    assert sorted(plain[:32]) == sorted(grouped[:32])
    assert padded(grouped) < 0.8 * padded(plain)


def test_a_small_set_is_not_repeated_inside_a_batch() -> None:
    order = list(TrainingOrder(LENGTHS[:20], batch_size=8, steps=2, seed=0, window=8))
    assert len(set(order[:8])) == 8
