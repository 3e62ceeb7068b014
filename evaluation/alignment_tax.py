"""What a stage cost: the mean change of the capabilities it was not trained for, and bits per byte of the old mix.

Both come from paired comparisons with an earlier stage's scores, item by item (`evaluation.compare`). Different tasks
have different items, so the variance of the mean over T tasks is the sum of theirs over T squared. Each task's own
difference, with its p-value adjusted for the number of tasks (Holm), stands in the details.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evaluation import significance
from evaluation.behaviour_config import AlignmentTaxConfig
from evaluation.scores import Comparison, Score, make_comparison
from evaluation.statistics import Z95, Estimate
from millbase.errors import ArtifactError, ConfigError

TAX, FORGETTING = "alignment_tax", "forgetting"
BEFORE = "before"
BITS = "bits_per_byte"


def capabilities(config: AlignmentTaxConfig, scores: Sequence[str]) -> list[str]:
    """Names of the scores whose change is the tax: those of the configuration, or the first metric of each task.

    `scores` are the names that tasks, `ifeval` and `code` will make, in their order. Raises ConfigError for a name that
    is none of them.
    """
    if not config.scores:
        firsts: dict[str, str] = {}
        for name in scores:
            firsts.setdefault(name.split(" ")[0], name)
        return list(firsts.values())
    for name in config.scores:
        if name not in scores:
            known = ", ".join(scores) or "none"
            raise ConfigError(
                f"alignment_tax.scores: {name!r} is no score of tasks, ifeval or code here; known: {known}"
            )
    return config.scores


def run_alignment_tax(
    chosen: Sequence[str], scores: Sequence[Score], compared: Sequence[Comparison]
) -> list[Comparison]:
    """`alignment_tax vs before` and `forgetting vs before`, as far as they can be had.

    Args:
        chosen: names of the capability scores.
        scores: all scores of this run.
        compared: paired comparisons of this run with the earlier stage, named `TASK METRIC vs before`.

    Raises ArtifactError when the earlier scores hold none of what is needed.
    """
    by_name = {comparison.name.removesuffix(f" vs {BEFORE}"): comparison for comparison in compared}
    found = []
    mine = [by_name[name] for name in chosen if name in by_name]
    if mine:
        found.append(_tax(mine, [name for name in chosen if name not in by_name]))
    if BITS in by_name:
        found.append(_forgetting(by_name, [score for score in scores if score.task == BITS]))
    if not found:
        raise ArtifactError(
            f"alignment_tax: the earlier scores hold neither bits_per_byte nor any of "
            f"{', '.join(chosen) or 'the tasks'}; evaluate the earlier stage on the same tasks"
        )
    return found


def _tax(mine: Sequence[Comparison], missing: list[str]) -> Comparison:
    signs = [1.0 if one.higher_is_better else -1.0 for one in mine]
    values = [sign * one.value for sign, one in zip(signs, mine, strict=True)]
    errors = [math.nan if one.stderr is None else one.stderr for one in mine]
    value = sum(values) / len(mine)
    stderr = math.sqrt(sum(error**2 for error in errors)) / len(mine)
    half = Z95 * stderr if stderr == stderr else math.inf
    estimate = Estimate(
        value, stderr, value - half, value + half, sum(one.n for one in mine), "mean over tasks, normal"
    )
    adjusted = significance.adjust([float(one.details.get("p_value", math.nan)) for one in mine])
    tasks = {
        one.name.removesuffix(f" vs {BEFORE}"): {
            "change": one.value,
            "ci95": list(one.ci95),
            "p_adjusted": None if p != p else p,
            "n": one.n,
        }
        for one, p in zip(mine, adjusted, strict=True)
    }
    details: dict[str, Any] = {"tasks": tasks, **({"not_compared": missing} if missing else {})}
    return make_comparison(
        TAX, TAX, BEFORE, estimate, kind="paired_difference", null=0.0, higher_is_better=True, details=details
    )


def _forgetting(by_name: dict[str, Comparison], scores: Sequence[Score]) -> Comparison:
    """The rise of bits per byte, with that of every source of the mix and its share of the present figure."""
    whole = by_name[BITS]
    now = next(score.value for score in scores if score.metric == BITS)
    sources = {
        name.removeprefix(f"{BITS} of "): {"change": one.value, "ci95": list(one.ci95)}
        for name, one in by_name.items()
        if name.startswith(f"{BITS} of ")
    }
    details = {
        **whole.details,
        "relative": whole.value / (now - whole.value),
        **({"sources": sources} if sources else {}),
    }
    return Comparison(
        **{
            **vars(whole),
            "name": f"{FORGETTING} vs {BEFORE}",
            "task": FORGETTING,
            "metric": FORGETTING,
            "details": details,
        }
    )
