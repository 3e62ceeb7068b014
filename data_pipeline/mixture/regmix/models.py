"""Regressions from mixture weights to loss, and the choice among them by cross-validated rank correlation.

RegMix found LightGBM to rank mixtures better than a linear model; with few runs smoother models often do better, so the
data decide. Ranks count, because only the order of mixtures matters for the choice of the best.

Polynomials are not among them: on synthetic losses a quadratic ranked mixtures well and put the best one far off.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.stats import spearmanr

from data_pipeline.mixture.regmix.config import ModelName
from data_pipeline.mixture.regmix.law import MixingLaw
from millbase.errors import ConfigError

MODELS: tuple[ModelName, ...] = ("linear", "mixing_law", "gaussian_process", "gradient_boosting", "lightgbm")
_INSTALL = "pip install 'llmill[mixfit]'"


class LossModel(Protocol):
    """Predicts the objective of mixtures."""

    def fit(self, weights: np.ndarray, losses: np.ndarray, factors: np.ndarray) -> None:
        """Learn from float64 [R, K] weights and float64 [R, D] losses; the objective is `losses @ factors`."""

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """float64 [N] objective of float64 [N, K] mixtures."""


class Regression:
    """A scikit-learn regressor of the objective itself."""

    def __init__(self, regressor: Any) -> None:
        self.regressor = regressor

    def fit(self, weights: np.ndarray, losses: np.ndarray, factors: np.ndarray) -> None:
        self.regressor.fit(weights, losses @ factors)

    def predict(self, weights: np.ndarray) -> np.ndarray:
        return np.asarray(self.regressor.predict(weights))


@dataclass(frozen=True)
class Validation:
    """How well one model predicts runs that it was not fitted to."""

    model: ModelName
    rank_correlation: float
    """Spearman's, between losses and out-of-fold predictions."""
    p_value: float
    """Probability of so high a correlation by chance, one-sided, times the number of models tried."""
    error: float
    """Root mean square of the out-of-fold residuals."""


def available_models(wanted: Sequence[ModelName] | None) -> list[ModelName]:
    """The models to try: those asked for, or all that are installed.

    Raises ConfigError when scikit-learn is missing, or LightGBM and it was asked for.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise ConfigError(f"learning mixture weights needs scikit-learn, which is not installed: {_INSTALL}")
    has_lightgbm = importlib.util.find_spec("lightgbm") is not None
    if wanted is None:
        return [name for name in MODELS if name != "lightgbm" or has_lightgbm]
    if "lightgbm" in wanted and not has_lightgbm:
        raise ConfigError(f"models: lightgbm is not installed; leave it out, or: {_INSTALL}")
    return list(dict.fromkeys(wanted))


def new_model(name: ModelName, seed: int) -> LossModel:
    """An unfitted model."""
    if name == "mixing_law":
        return MixingLaw()
    return Regression(_regressor(name, seed))


def _regressor(name: ModelName, seed: int) -> Any:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    if name == "linear":
        return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-6, 3, 19)))
    if name == "gaussian_process":
        # the first per cent of a source matters more than the last: distances between square roots (Hellinger's)
        return make_pipeline(FunctionTransformer(np.sqrt), _gaussian_process())
    if name == "gradient_boosting":
        from sklearn.ensemble import GradientBoostingRegressor

        return GradientBoostingRegressor(
            n_estimators=300, learning_rate=0.05, max_depth=3, subsample=0.7, random_state=seed
        )
    from lightgbm import LGBMRegressor

    # RegMix's learning rate and number of trees; small leaves, for there are tens of runs, not thousands
    return LGBMRegressor(
        n_estimators=1000, learning_rate=0.01, num_leaves=8, min_child_samples=3, subsample=0.8, subsample_freq=1,
        random_state=seed, deterministic=True, force_row_wise=True, n_jobs=1, verbose=-1,
    )  # fmt: skip


def _gaussian_process(kernel: Any = None) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    if kernel is not None:
        return GaussianProcessRegressor(kernel, normalize_y=True, optimizer=None)
    start = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(1.0, (0.05, 50.0), nu=2.5) + WhiteKernel(0.1, (1e-6, 10.0))
    return GaussianProcessRegressor(start, normalize_y=True)


def refit(name: ModelName, fitted: LossModel, seed: int) -> LossModel:
    """A model to be fitted to a resample of the runs: like `fitted`, whose kernel a Gaussian process keeps."""
    model = new_model(name, seed)
    if name == "gaussian_process":
        assert isinstance(model, Regression) and isinstance(fitted, Regression), "a Gaussian process is scikit-learn's"
        kernel = fitted.regressor.steps[-1][1].kernel_
        model.regressor.steps[-1] = (model.regressor.steps[-1][0], _gaussian_process(kernel))
    return model


@dataclass(frozen=True)
class Split:
    """How a cross-validation is done."""

    folds: int
    repeats: int
    seed: int


def validate(
    name: ModelName, weights: np.ndarray, losses: np.ndarray, factors: np.ndarray, split: Split, models: int
) -> Validation:
    """Cross-validate one model, one of `models` that are tried; arrays as for `LossModel.fit`."""
    objective = losses @ factors
    predicted = np.zeros(len(objective))
    for repeat in range(split.repeats):
        generator = np.random.default_rng([split.seed, 2, repeat])
        part = generator.permutation(len(objective)) % min(split.folds, len(objective))
        for fold in range(part.max() + 1):
            model = new_model(name, split.seed)
            model.fit(weights[part != fold], losses[part != fold], factors)
            predicted[part == fold] += model.predict(weights[part == fold]) / split.repeats
    if np.ptp(objective) == 0 or np.ptp(predicted) == 0:
        return Validation(name, 0.0, 1.0, float(np.std(objective)))
    result = spearmanr(objective, predicted, alternative="greater")
    error = float(np.sqrt(np.mean((objective - predicted) ** 2)))
    return Validation(name, float(result.statistic), min(1.0, float(result.pvalue) * models), error)
