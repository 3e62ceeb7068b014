"""A fit of mixture weights in words and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_pipeline.mixture.regmix.config import MixFitConfig
from data_pipeline.mixture.regmix.table import ProxyRuns

if TYPE_CHECKING:
    from data_pipeline.mixture.regmix.fit import Fit

_WIDE = 0.5


def describe_fit(fit: Fit, runs: ProxyRuns, config: MixFitConfig) -> str:
    """What `fit.txt` holds."""
    level = f"{config.level:.0%}"
    lines = [
        f"{len(runs.weights)} proxy runs over {len(runs.sources)} sources; losses on {', '.join(runs.domains)}",
        "",
        f"{'model':<18} {'rank correlation':>16} {'p':>9} {'error':>9}   (cross-validated)",
    ]
    for found in fit.validations:
        used = "  used" if found.model in fit.used else ""
        p_value = f"{found.p_value:.1e}" if found.p_value < 0.001 else f"{found.p_value:.3f}"
        lines.append(f"{found.model:<18} {found.rank_correlation:>16.3f} {p_value:>9} {found.error:>9.4f}{used}")
    lines += ["", f"{'source':<18} {'prior':>8} {'weight':>8}   {level} interval"]
    for number, name in enumerate(fit.sources):
        pair = "" if fit.intervals is None else "{:.3f} to {:.3f}".format(*fit.intervals[number])
        lines.append(f"{name:<18} {fit.prior[number]:>8.3f} {fit.weights[number]:>8.3f}   {pair}")
    gain = "" if fit.gain_interval is None else " ({} interval {:.4f} to {:.4f})".format(level, *fit.gain_interval)
    loss = "" if fit.loss_interval is None else " ({} interval {:.4f} to {:.4f})".format(level, *fit.loss_interval)
    lines += [
        "",
        f"predicted loss: {fit.loss:.4f}{loss}; the best run had {runs.objective.min():.4f}",
        f"predicted gain over the prior: {fit.prior_loss - fit.loss:.4f}{gain}",
        verdict(fit),
    ]
    return "\n".join(lines)


def verdict(fit: Fit) -> str:
    """Whether the weights can be trusted."""
    if not fit.better_than_chance:
        return (
            "The fit is no better than chance: these weights say nothing. Train more proxy runs, longer ones, or "
            "mixtures that differ more."
        )
    if fit.intervals is not None and (fit.intervals[:, 1] - fit.intervals[:, 0]).max() > _WIDE:
        return (
            "The fit ranks mixtures better than chance, but the weights are hardly determined: the intervals are wide. "
            "Train more proxy runs."
        )
    if fit.gain_interval is not None and fit.gain_interval[0] <= 0:
        return "The fit ranks mixtures better than chance, but a gain over the prior is not certain."
    return "The fit ranks mixtures better than chance. Train the mixture once before you rely on the predicted loss."
