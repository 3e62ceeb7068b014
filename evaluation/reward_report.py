"""A reward model's verdicts on pairs: by category, calibrated or not, led by length or not; RewardBench's score.

RewardBench (Lambert et al. 2024, arXiv:2403.13787, section 4): a section is the mean of its subsets weighted by their
sizes, except that the mathematics subset weighs as much as all code together; the score is the mean of the sections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from evaluation import statistics
from evaluation.scores import Item, Score, make_score
from evaluation.statistics import Z95, Estimate

NAME = "reward_accuracy"
_BINS = 10
_CODE = ("hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust")
SECTIONS: dict[str, tuple[str, ...]] = {
    "chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "chat_hard": (
        *("mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor"),
        *("llmbar-adver-GPTInst", "llmbar-adver-GPTOut", "llmbar-adver-manual"),
    ),
    "safety": (
        *("refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond"),
        "donotanswer",
    ),
    "reasoning": ("math-prm", *_CODE),
}
"""RewardBench's sections and their subsets."""


def category_scores(items: Sequence[Item], path: str) -> list[Score]:
    """Accuracy in each category, and RewardBench's sections and score when the categories are its subsets."""
    groups: dict[str, list[float]] = {}
    for item in items:
        if item.get("category") is not None:
            groups.setdefault(item["category"], []).append(item["scores"]["accuracy"])
    scores = [
        make_score(NAME, f"accuracy {name}", statistics.share(right), higher_is_better=True, items=path)
        for name, right in sorted(groups.items())
    ]
    known = {subset for subsets in SECTIONS.values() for subset in subsets}
    if groups and set(groups) <= known:
        sections = {name: _section(groups, subsets) for name, subsets in SECTIONS.items()}
        present = {name: estimate for name, estimate in sections.items() if estimate is not None}
        overall = _combine([(1 / len(present), estimate) for estimate in present.values()])
        for name, estimate in (*present.items(), ("score", overall)):
            scores.append(make_score("rewardbench", name, estimate, higher_is_better=True, items=None))
    return scores


def _section(groups: dict[str, list[float]], subsets: tuple[str, ...]) -> Estimate | None:
    sizes = {name: float(len(groups[name])) for name in subsets if name in groups}
    if not sizes:
        return None
    code = sum(size for name, size in sizes.items() if name in _CODE)
    if code and "math-prm" in sizes:
        sizes["math-prm"] = code
    total = sum(sizes.values())
    return _combine([(size / total, statistics.mean(groups[name])) for name, size in sizes.items()])


def _combine(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
    """The weighted mean of independent estimates, with the normal interval."""
    value = sum(weight * part.value for weight, part in parts)
    stderr = math.sqrt(sum((weight * part.stderr) ** 2 for weight, part in parts))
    n = sum(part.n for _, part in parts)
    return Estimate(value, stderr, value - Z95 * stderr, value + Z95 * stderr, n, "stratified normal")


def calibration_error(items: Sequence[Item], seed: int = 0) -> Estimate:
    """Expected calibration error of the probability sigma(|margin|) that the model gives its own verdict.

    Ten bins of equal size (Guo et al. 2017, section 2, with equal counts); bootstrap interval. A Bradley-Terry model
    whose margins are log-odds has 0.
    """
    rows = [(1 / (1 + math.exp(-min(abs(item["margin"]), 50.0))), item["scores"]["accuracy"]) for item in items]
    return statistics.bootstrap(rows, _calibration_gap, seed, replicates=300)


def _calibration_gap(rows: list[tuple[float, float]]) -> float:
    table = np.array(rows)
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    bins = np.array_split(table, min(_BINS, len(table)))
    return float(sum(abs(part[:, 0].mean() - part[:, 1].mean()) * len(part) for part in bins) / len(table))


def length_bias(items: Sequence[Item]) -> dict[str, Any]:
    """How verdicts go with length: accuracy where the chosen response is the longer or the shorter one, and how often
    the model and the labels prefer the longer. Shares are None where there is no such pair."""
    longer = [item for item in items if item["chosen_characters"] > item["rejected_characters"]]
    shorter = [item for item in items if item["chosen_characters"] < item["rejected_characters"]]

    def accuracy(group: list[Item]) -> float | None:
        return fmean(item["scores"]["accuracy"] for item in group) if group else None

    uneven = len(longer) + len(shorter)
    wins = sum(item["margin"] > 0 for item in longer) + sum(item["margin"] < 0 for item in shorter)
    return {
        "accuracy_when_chosen_is_longer": accuracy(longer),
        "accuracy_when_chosen_is_shorter": accuracy(shorter),
        "model_prefers_longer": wins / uneven if uneven else None,
        "labels_prefer_longer": len(longer) / uneven if uneven else None,
    }
