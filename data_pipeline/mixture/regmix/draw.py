"""Random mixtures around a prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data_pipeline.mixture.regmix.config import DrawConfig
from millbase.config import suggest
from millbase.errors import ConfigError

_ATTEMPTS = 200


def natural(sizes: Mapping[str, float], temperature: float = 1.0) -> np.ndarray:
    """float64 [K] shares proportional to size^(1/temperature)."""
    values = np.array(list(sizes.values()), dtype=np.float64)
    shares = (values / values.max()) ** (1 / temperature)
    return np.asarray(shares / shares.sum())


def draw_mixtures(
    names: Sequence[str], prior: np.ndarray, count: int, config: DrawConfig, generator: np.random.Generator
) -> np.ndarray:
    """float64 [count, K] mixtures, rows sum to 1, within the limits of `config`.

    Each is Dirichlet(strength x prior), its strength drawn evenly on a logarithmic scale. Raises ConfigError for limits
    on unknown sources and for limits that hardly any mixture meets.
    """
    limits = upper_limits(names, config)
    kept: list[np.ndarray] = []
    for _ in range(_ATTEMPTS):
        low, high = np.log(config.min_strength), np.log(config.max_strength)
        strengths = np.exp(generator.uniform(low, high, size=(2 * count, 1)))
        # a Dirichlet as normalised gamma variables; tiny shapes underflow to all zeros now and then
        gammas = generator.standard_gamma(strengths * prior)
        drawn = gammas[gammas.sum(axis=1) > 0]
        drawn = drawn / drawn.sum(axis=1, keepdims=True)
        drawn = np.where(drawn < config.min_weight, 0.0, drawn)
        drawn = drawn / drawn.sum(axis=1, keepdims=True)
        kept.append(drawn[(drawn <= limits + 1e-12).all(axis=1)])
        if sum(map(len, kept)) >= count:
            return np.concatenate(kept)[:count]
    shown = ", ".join(f"{name} {limit:.3g}" for name, limit in zip(names, limits, strict=True))
    raise ConfigError(
        f"hardly any mixture meets the limits {shown}; raise max_weights, or the strengths, for mixtures nearer "
        "to the prior"
    )


def upper_limits(names: Sequence[str], config: DrawConfig) -> np.ndarray:
    """float64 [K] largest weights. ConfigError for unknown names, or when they do not add up to 1."""
    for name in config.max_weights:
        if name not in names:
            raise ConfigError(f"draw.max_weights: no source {name!r}{suggest(name, list(names))}")
    limits = np.array([config.max_weights.get(name, 1.0) for name in names])
    if limits.sum() < 1:
        raise ConfigError(f"draw.max_weights add up to {limits.sum():.3g}, so that no mixture fills them; raise some")
    return limits


def as_mixture(names: Sequence[str], weights: np.ndarray) -> dict[str, dict[str, float]]:
    """`weights` and `epochs` of a `MixtureConfig`; sources with weight 0 are read 0 times."""
    rounded = {name: round(float(weight), 6) for name, weight in zip(names, weights, strict=True)}
    absent = {name: 0.0 for name, weight in rounded.items() if not weight}
    return {
        "weights": {name: weight for name, weight in rounded.items() if weight},
        **({"epochs": absent} if absent else {}),
    }
