"""One file per post-training method whose effect on sums `posttrain_effects.py` measures.

A method is a module with two names:

    GOAL = "sampled accuracy +6 points at KL under 1"
    def run(start: Path, seed: int, work: Path, quick: bool) -> dict[str, float]   # measures of one seed
    def reached(means: dict[str, float]) -> bool                                   # is the goal met by the means?

`start` is the Hugging Face folder of the SFT model, `work` an empty folder. `quick` wants a run of some
seconds that shows that everything works. Settings are chosen on `sums.TUNING` with another seed; `sums.HELD_OUT` is
read by the measures only, once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.sums import HELD_OUT, Problem, divergence, right_shares

SAMPLES = 8
"""Completions drawn for each held-out problem."""


def once(out: Path, train: Callable[[], Path]) -> Path:
    """The artifact at `out`, trained unless a run that was stopped later had finished it."""
    return out if (out / "manifest.json").is_file() else train()


def measured_problems(quick: bool = False) -> list[Problem]:
    """The held-out problems that measures are taken on."""
    return HELD_OUT[:100] if quick else HELD_OUT


def policy_measures(start: Path, after: Path, seed: int, quick: bool = False) -> dict[str, float]:
    """Accuracy of the policy before and after on held-out problems, sampled and greedy, and the KL between the two.

    Accuracies are in points of 100. KL is in nats per completion, after against before.
    """
    problems = measured_problems(quick)
    measures = {}
    for name, samples in (("sampled", SAMPLES), ("greedy", 0)):
        shares = [right_shares(model, problems, samples=samples, seed=seed) for model in (start, after)]
        before, now = (100 * sum(values) / len(values) for values in shares)
        measures |= {f"{name}_before": before, f"{name}_after": now, f"{name}_gain": now - before}
    measures["kl"] = divergence(after, start, problems, seed=seed).value
    return measures
