"""Data mixing laws: the loss of each domain as an exponential of the weights (Ye et al. 2024, arXiv 2403.16952, eq. 7).

L_d(w) = c_d + exp(t_d . w), where the law's factor k_d is part of t_d because the weights sum to 1. The objective is a
mean over domains, so it may have its minimum inside, where no source is alone.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

_FLOORS = np.geomspace(0.02, 20.0, 16)
"""Trial values of min(L) - c, in units of the losses' range."""
_RIDGE = 1e-4


class MixingLaw:
    """One law for each domain, fitted by least squares."""

    def __init__(self) -> None:
        self._laws: list[np.ndarray] = []
        self._factors = np.empty(0)

    def fit(self, weights: np.ndarray, losses: np.ndarray, factors: np.ndarray) -> None:
        """Learn from float64 [R, K] weights and float64 [R, D] losses; domains of factor 0 are left out."""
        used = np.flatnonzero(factors)
        self._factors = factors[used]
        self._laws = [fit_law(weights, losses[:, domain]) for domain in used]

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """float64 [N] objective of float64 [N, K] mixtures."""
        return np.asarray(sum(f * predict_law(law, weights) for f, law in zip(self._factors, self._laws, strict=True)))


def predict_law(law: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64 [N] losses by `law`, float64 [K + 1]: c, then t."""
    return np.asarray(law[0] + np.exp(np.clip(weights @ law[1:], -50, 50)))


def fit_law(weights: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """float64 [K + 1] law of one domain from float64 [R, K] weights and float64 [R] losses.

    For a given c, log(L - c) is linear in the weights; the best c of a few starts a fit of everything.
    """
    spread = float(np.ptp(loss))
    if spread == 0.0:
        return np.concatenate([[loss[0] - 1.0], np.zeros(weights.shape[1])])
    starts = [_with_floor(weights, loss, float(loss.min()) - floor * spread) for floor in _FLOORS]
    start = min(starts, key=lambda law: float(np.sum((predict_law(law, weights) - loss) ** 2)))
    center = start[1:].mean()

    def residuals(law: np.ndarray) -> np.ndarray:
        # a little ridge holds coefficients of sources that hardly occur
        pull = np.sqrt(_RIDGE * len(loss)) * (law[1:] - center)
        return np.concatenate([(predict_law(law, weights) - loss) / spread, pull])

    return np.asarray(least_squares(residuals, start, max_nfev=200).x)


def _with_floor(weights: np.ndarray, loss: np.ndarray, floor: float) -> np.ndarray:
    """The law with c = floor by weighted least squares of log(L - c)."""
    excess = loss - floor  # also the weights that make errors of the logarithm count as errors of the loss
    ridge = np.sqrt(_RIDGE) * np.eye(weights.shape[1]) * excess.mean()
    target = np.log(excess)
    design = np.concatenate([weights * excess[:, None], ridge])
    wanted = np.concatenate([target * excess, np.diag(ridge) * target.mean()])
    return np.concatenate([[floor], np.linalg.lstsq(design, wanted, rcond=None)[0]])
