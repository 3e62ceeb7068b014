"""The length-controlled win rate: takes out length, leaves quality."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.length_control import length_controlled


def draw(quality: float, slope: float, shift: float, n: int = 600) -> tuple[list[float], list[int], list[int]]:
    generator = np.random.default_rng(0)
    theirs = generator.integers(200, 600, size=n)
    ours = theirs + (shift + 100 * generator.normal(size=n)).astype(int)
    difference = ours - theirs
    chance = 1 / (1 + np.exp(-(quality + slope * np.tanh(difference / difference.std()))))
    return list((generator.random(n) < chance).astype(float)), list(ours), list(theirs)


def test_a_judge_of_length_alone_finds_equal_models_equal() -> None:
    outcomes, ours, theirs = draw(quality=0.0, slope=3.0, shift=150)
    assert np.mean(outcomes) > 0.8
    estimate = length_controlled(outcomes, ours, theirs, seed=0)
    assert estimate.low < 0.5 < estimate.high


def test_quality_stays() -> None:
    outcomes, ours, theirs = draw(quality=1.0, slope=1.0, shift=0)
    estimate = length_controlled(outcomes, ours, theirs, seed=0)
    assert estimate.value == pytest.approx(1 / (1 + np.exp(-1)), abs=0.06)


def test_without_a_difference_of_length_it_is_the_win_rate() -> None:
    outcomes = [1.0, 0.0, 0.5, 1.0, 1.0, 0.0, 1.0, 0.5]
    estimate = length_controlled(outcomes, [10] * 8, [10] * 8, seed=0)
    assert estimate.value == pytest.approx(np.mean(outcomes), abs=0.01)


def test_winning_always_stays_finite() -> None:
    estimate = length_controlled([1.0] * 20, list(range(20)), [0] * 20, seed=0)
    assert 0.5 < estimate.value <= 1.0 and np.isfinite(estimate.low)
