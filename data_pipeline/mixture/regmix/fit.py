"""From the losses of proxy runs to mixture weights, with intervals and a word on whether the fit can be trusted.

llmill corpus mix-fit table=runs/candidates/candidates.csv losses=losses.csv --out runs/mixture

The steps are RegMix's: a regression from weights to loss, the predicted loss of many simulated mixtures, the mean of
the best of them. The intervals are percentiles over fits to resampled runs (a bootstrap), by every model that is about
as good as the best; they tell how much the answer depends on which mixtures were drawn, on the model and on noise
between runs, not how far proxy runs stand for the model that is meant.
The predicted loss of the mixture chosen is optimistic, for it was chosen for its prediction: train it once to
know.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_pipeline.mixture.regmix.config import MixFitConfig, ModelName
from data_pipeline.mixture.regmix.draw import as_mixture, draw_mixtures
from data_pipeline.mixture.regmix.models import (
    LossModel,
    Split,
    Validation,
    available_models,
    new_model,
    refit,
    validate,
)
from data_pipeline.mixture.regmix.report import describe_fit
from data_pipeline.mixture.regmix.table import ProxyRuns, read_runs
from millbase.artifacts import create_artifact
from millbase.atomic import atomic_write, write_json
from millbase.config import suggest
from millbase.errors import ConfigError
from millbase.log import get_logger
from millbase.progress import progress

logger = get_logger(__name__)

KIND = "mixture-fit"


@dataclass(frozen=True)
class Fit:
    """Weights learned from proxy runs."""

    sources: list[str]
    weights: np.ndarray
    """float64 [K]"""
    intervals: np.ndarray | None
    """float64 [K, 2]; null without a bootstrap."""
    loss: float
    """Predicted objective at `weights`."""
    loss_interval: list[float] | None
    prior: np.ndarray
    """float64 [K] what mixtures were drawn around."""
    prior_loss: float
    """Predicted objective there."""
    gain_interval: list[float] | None
    """Interval of `prior_loss - loss`, predicted from the same resamples."""
    validations: list[Validation]
    """Of every model, those used first."""
    used: list[ModelName]
    """The models whose predictions are averaged."""
    better_than_chance: bool


def fit_mixture(config: MixFitConfig, out: str | Path) -> Path:
    """Write the `mixture-fit` artifact `out`: `weights.yaml` (a mixture), `fit.json` and the same in words, `fit.txt`.

    Raises InputError and ConfigError for tables that do not fit, ConfigError where a library is missing.
    """
    models = available_models(config.models)
    runs = read_runs(config)
    inputs: dict[str, str | Path | list[str] | None] = {"table": config.table, "losses": config.losses}
    with create_artifact(out, kind=KIND, config=config, inputs=inputs, seed=config.seed) as artifact:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's on convergence; cross-validation judges the result
            fit = learn(runs, config, models)
        text = describe_fit(fit, runs, config)
        write_json(artifact.path / "fit.json", fit_values(fit, runs))
        with atomic_write(artifact.path / "fit.txt") as file:
            file.write(text + "\n")
        with atomic_write(artifact.path / "weights.yaml") as file:
            trust = "better" if fit.better_than_chance else "NO BETTER"
            file.write(f"# learned from {len(runs.weights)} proxy runs; the fit is {trust} than chance, see fit.txt\n")
            yaml.safe_dump({"mixture": as_mixture(fit.sources, fit.weights)}, file, sort_keys=False, allow_unicode=True)
        logger.info("the fit\n\n%s\n", text)
        if not fit.better_than_chance:
            logger.warning("the fit is no better than chance: the weights say nothing; train more or longer proxy runs")
        artifact.stats.update(runs=len(runs.weights), better_than_chance=fit.better_than_chance)
    return Path(out)


def learn(runs: ProxyRuns, config: MixFitConfig, models: list[Any]) -> Fit:
    """Choose models, predict simulated mixtures, take the best, and repeat it on resampled runs."""
    split = Split(config.folds, config.repeats, config.seed)
    validations = [validate(name, runs.weights, runs.losses, runs.factors, split, len(models)) for name in models]
    validations, equals = rank(validations, len(runs.weights))
    prior = _prior(runs, config)
    simulated = draw_mixtures(
        runs.sources, prior, config.simulations, config.draw, np.random.default_rng([config.seed, 3])
    )
    fitted = {}
    for contender in equals:
        fitted[contender] = new_model(contender, config.seed)
        fitted[contender].fit(runs.weights, runs.losses, runs.factors)
    model = Mean(list(fitted.values()))
    weights = best_mixture(model, simulated, config.top)
    loss, prior_loss = (float(model.predict(row[None])[0]) for row in (weights, prior))
    found, losses, gains = [], [], []
    with progress("resampling proxy runs", total=config.bootstrap, unit="fits") as bar:
        for number in range(config.bootstrap):
            rows = np.random.default_rng([config.seed, 4, number]).integers(len(runs.weights), size=len(runs.weights))
            other = list(fitted)[number % len(fitted)]
            again = refit(other, fitted[other], config.seed)
            again.fit(runs.weights[rows], runs.losses[rows], runs.factors)
            found.append(best_mixture(again, simulated, config.top))
            # at the mixture chosen from all runs, so that a resample does not flatter its own choice
            at_weights, at_prior = again.predict(np.stack([weights, prior]))
            losses.append(at_weights)
            gains.append(at_prior - at_weights)
            bar.advance(1)
    return Fit(
        sources=runs.sources,
        weights=weights,
        intervals=_interval(np.array(found), config.level).T if found else None,
        loss=loss,
        loss_interval=_interval(np.array(losses), config.level).tolist() if losses else None,
        prior=prior,
        prior_loss=prior_loss,
        gain_interval=_interval(np.array(gains), config.level).tolist() if gains else None,
        validations=validations,
        used=equals,
        better_than_chance=validations[0].rank_correlation > 0 and validations[0].p_value < config.significance,
    )


def rank(validations: list[Validation], runs: int) -> tuple[list[Validation], list[ModelName]]:
    """The models in the order of preference, and those at its head that are as good as each other.

    As good are those within one standard error of the highest rank correlation, which for a correlation r of n pairs is
    about (1 - r^2) / sqrt(n - 1). The mean of what they predict is used, which on synthetic losses came nearer to the
    best mixture than any one of them, and the intervals come from all of them in turn.
    """
    ordered = sorted(validations, key=lambda found: -found.rank_correlation)
    best = ordered[0].rank_correlation
    margin = (1 - best**2) / np.sqrt(max(1, runs - 1))
    equals = [found for found in ordered if found.rank_correlation >= best - margin]
    equals.sort(key=lambda found: found.error)
    return equals + ordered[len(equals) :], [found.model for found in equals]


class Mean:
    """The mean of what several models predict."""

    def __init__(self, models: list[LossModel]) -> None:
        self.models = models

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """float64 [N] objective of float64 [N, K] mixtures."""
        return np.asarray(np.mean([model.predict(weights) for model in self.models], axis=0))


def best_mixture(model: LossModel | Mean, mixtures: np.ndarray, top: int) -> np.ndarray:
    """float64 [K]: the mean of the `top` rows of float64 [S, K] mixtures whose predicted loss is lowest."""
    order = np.argsort(model.predict(mixtures), kind="stable")[:top]
    return np.asarray(mixtures[order].mean(axis=0))


def _prior(runs: ProxyRuns, config: MixFitConfig) -> np.ndarray:
    for name in config.prior:
        if name not in runs.sources:
            raise ConfigError(f"prior: no source {name!r} in the table{suggest(name, runs.sources)}")
    if config.prior:
        absent = [name for name in runs.sources if name not in config.prior]
        if absent:
            raise ConfigError(f"prior: source {absent[0]!r} of the table is missing; give every source a weight")
        values = np.array([config.prior[name] for name in runs.sources])
        return np.asarray(values / values.sum())
    return np.asarray(runs.weights.mean(axis=0))


def _interval(values: np.ndarray, level: float) -> np.ndarray:
    """float64 [2, ...] percentiles over the first axis."""
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)


def fit_values(fit: Fit, runs: ProxyRuns) -> dict[str, Any]:
    """The fit as JSON values."""
    shown = fit.intervals if fit.intervals is not None else [None] * len(fit.sources)
    return {
        "runs": len(runs.weights),
        "domains": runs.domains,
        "better_than_chance": fit.better_than_chance,
        "models": [{**asdict(found), "used": found.model in fit.used} for found in fit.validations],
        "weights": {
            name: {"weight": float(weight), "interval": None if pair is None else [float(value) for value in pair],
                   "prior": float(prior)}
            for name, weight, pair, prior in zip(fit.sources, fit.weights, shown, fit.prior, strict=True)
        },
        "loss": {"predicted": fit.loss, "interval": fit.loss_interval},
        "prior_loss": fit.prior_loss,
        "gain": {"predicted": fit.prior_loss - fit.loss, "interval": fit.gain_interval},
        "best_run": {"loss": float(runs.objective.min()), "weights": dict(
            zip(fit.sources, runs.weights[runs.objective.argmin()].tolist(), strict=True))},
    }  # fmt: skip
