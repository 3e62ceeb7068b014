"""How many bytes of each source training reads, from the mixture's configuration and the bytes there are.

With weights w and available bytes b, and without a budget, training reads S = min over sources of (cap b / w) bytes,
with w summing to 1 and `cap` the epochs a source may be read: the scarcest source is used up and the others give w S.
With a budget, S is the budget, and what a source cannot give within its cap the others give in its place, in proportion
to their weights. Equal weights, a budget and a cap are UniMax (Chung et al. 2023, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from data_pipeline.mixture.config import MixtureConfig
from millbase.config import suggest
from millbase.errors import ConfigError, InputError


@dataclass(frozen=True)
class SourceShare:
    """What the mixture asks of one source."""

    available: int
    """Bytes of text there are."""
    target: float | None
    """Bytes that training reads, repetitions included; null for a source that stands outside the mixture."""
    epochs: float
    """How often training reads a document of it, on average."""
    weight: float | None = None
    """The share of what training reads that was asked for; null without a weight."""
    share: float = 0.0
    """The share of what training reads that it has."""


def plan_mixture(
    available: Mapping[str, int], effective: Mapping[str, float], config: MixtureConfig
) -> dict[str, SourceShare]:
    """The share of each source.

    `available` are the bytes there are; `effective` the same with each document counted as often as its quality bucket
    says. Raises ConfigError for names that are no source, InputError for a source with a weight that has nothing, and
    for a budget that the sources outside the shares use up.
    """
    _check_names(available, config)
    weights = _weights(effective, config)
    for name in weights:
        if not effective.get(name):
            raise InputError(
                f"source {name!r} has weight {weights[name]:g} and no document left after filtering; "
                "loosen the filters, remove the source, or take its weight away"
            )
    fixed = {name: effective[name] * config.epochs.get(name, 1.0) for name in available if name not in weights}
    targets = {**fixed, **_weighted_targets(weights, effective, config, sum(fixed.values()))}
    total, weight_sum = sum(targets.values()), sum(weights.values())
    shares = {}
    for name in available:
        outside = name not in weights and name not in config.epochs and not config.quality.buckets
        shares[name] = SourceShare(
            available=available[name],
            target=None if outside else targets[name],
            epochs=targets[name] / available[name] if available[name] else 0.0,
            weight=weights[name] / weight_sum if name in weights else None,
            share=targets[name] / total if total else 0.0,
        )
    return shares


def _check_names(available: Mapping[str, int], config: MixtureConfig) -> None:
    for field in ("epochs", "source_max_epochs"):
        for name in getattr(config, field):
            if name not in available:
                raise ConfigError(
                    f"mixture.{field}: no {config.column} {name!r} in the corpus{suggest(name, [*available])}"
                )


def _weights(effective: Mapping[str, float], config: MixtureConfig) -> dict[str, float]:
    if config.weights:
        return dict(config.weights)
    temperature = config.temperature or (1.0 if config.total else None)
    if temperature is None:
        return {}
    return {n: size ** (1 / temperature) for n, size in effective.items() if n not in config.epochs and size}


def _weighted_targets(
    weights: Mapping[str, float], effective: Mapping[str, float], config: MixtureConfig, outside: float
) -> dict[str, float]:
    """Bytes of each source with a weight; `outside` bytes are read of the others."""
    caps = {name: config.epochs_cap(name) * effective[name] for name in weights}
    if not weights:
        return {}
    if config.total is None:
        scale = min(caps[name] / weight for name, weight in weights.items())
        return {name: scale * weight for name, weight in weights.items()}
    budget = config.total - outside
    if budget <= 0:
        raise InputError(
            f"mixture: the sources without a weight give {outside:.3g} bytes, the whole budget of {config.total:.3g}; "
            "raise the budget, or give them weights or fewer epochs"
        )
    return fill(weights, caps, budget)


def fill(weights: Mapping[str, float], caps: Mapping[str, float], budget: float) -> dict[str, float]:
    """Shares of `budget` in proportion to `weights`, none above its cap; full ones leave the rest to the others.

    Less than the budget is given out when all are full.
    """
    targets: dict[str, float] = {}
    left = dict(weights)
    while left:
        unit = budget / sum(left.values())
        full = [name for name, weight in left.items() if weight * unit >= caps[name]]
        if not full:
            return targets | {name: weight * unit for name, weight in left.items()}
        for name in full:
            targets[name] = caps[name]
            budget -= caps[name]
            del left[name]
    return targets
