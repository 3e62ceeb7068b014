"""A win rate with the advantage of mere length taken out.

After AlpacaEval 2 (Dubois et al. 2024, arXiv:2404.04475, section 3): the chance of a win is modelled as
sigma(quality + slope * tanh(length difference / its standard deviation)); the length-controlled win rate is
sigma(quality), what the model predicts for responses of equal length. Ties count as half a win.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evaluation import statistics
from evaluation.statistics import Estimate

_RIDGE = 1e-2
"""Keeps the fit finite when length or quality separates wins from losses; a hundredth of one observation."""
_STEPS = 50


def length_controlled(
    outcomes: Sequence[float], lengths: Sequence[int], reference_lengths: Sequence[int], seed: int
) -> Estimate:
    """The length-controlled win rate, with a bootstrap interval over prompts.

    Args:
        outcomes: 1 for a win, 0.5 for a tie, 0 for a loss, one per prompt.
        lengths: characters of our responses.
        reference_lengths: characters of the reference's.
        seed: of the bootstrap.
    """
    difference = np.asarray(lengths, dtype=np.float64) - np.asarray(reference_lengths, dtype=np.float64)
    spread = float(difference.std())
    feature = np.tanh(difference / spread) if spread else np.zeros_like(difference)
    rows = list(zip(map(float, outcomes), map(float, feature), strict=True))
    return statistics.bootstrap(rows, _at_equal_length, seed, replicates=300)


def _at_equal_length(rows: list[tuple[float, float]]) -> float:
    """sigma(quality) of the ridge-penalised logistic fit, by Newton's method."""
    table = np.array(rows)
    won, design = table[:, 0], np.column_stack([np.ones(len(table)), table[:, 1]])
    weights = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (won - p) - _RIDGE * weights
        curvature = (design * (p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights + np.clip(step, -2, 2)
        if float(np.abs(step).max()) < 1e-9:
            break
    return 1 / (1 + math.exp(-float(np.clip(weights[0], -30, 30))))
