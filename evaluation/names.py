"""Names of the scores and comparisons that a run will make, so that a gate on anything else is refused before it.

Names that depend on what a file holds (sources, categories, turns) are not known before and cannot have gates, except
those that are always there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluation.alignment_tax import BITS, FORGETTING, TAX, capabilities
from evaluation.behaviour_config import DIVERSITY as METRICS
from evaluation.compare import comparable
from evaluation.config import EvaluationConfig
from evaluation.dialogues import has_answers
from evaluation.safety import expected_metrics
from evaluation.scores import Scores, metric_name

if TYPE_CHECKING:
    from evaluation.task_files import PreparedTask


def capability_names(config: EvaluationConfig, tasks: Sequence[PreparedTask]) -> list[str]:
    """Scores of tasks, IFEval and code."""
    names = [metric_name(task.name, label) for task in tasks for label in task.metric_labels()]
    if config.ifeval:
        names += [f"ifeval {level}_{how}" for level in ("prompt", "instruction") for how in ("strict", "loose")]
    if config.code:
        names += [metric_name(config.code.name, f"pass@{k}") for k in config.code.k]
    return names


def expected_names(
    config: EvaluationConfig,
    tasks: Sequence[PreparedTask],
    earlier: Scores | None = None,
    before: Scores | None = None,
    reward_model: bool = False,
) -> tuple[list[str], list[str]]:
    """Scores and comparisons.

    Args:
        config: the evaluation.
        tasks: its tasks.
        earlier: `previous_scores`.
        before: what the alignment tax is counted from.
        reward_model: what is evaluated is a reward model.
    """
    scores: list[str] = []
    comparisons: list[str] = []
    if config.bits_per_byte:
        scores.append("bits_per_byte")
        comparisons.append("bits_per_byte vs unigram")
    if config.reward_accuracy:
        scores += [f"reward_accuracy {metric}" for metric in ("accuracy", "margin", "calibration_error")]
        comparisons.append("reward_accuracy accuracy vs chance")
    able = capability_names(config, tasks)
    scores += able
    more, more_comparisons = _behaviour_names(config)
    scores += more
    compared = _asked_again(config, tasks, reward_model) if earlier is None else comparable(earlier)
    comparisons += [f"{name} vs previous" for name in scores if name in compared]
    comparisons += more_comparisons
    if config.win_rate:
        scores += ["win_rate", "win_rate length_controlled"]
        comparisons.append("win_rate vs reference")
    if config.kl:
        scores += ["kl", "kl per_token"]
    if config.alignment_tax and before is not None:
        known = comparable(before)
        comparisons += [f"{TAX} vs before"] if known.intersection(capabilities(config.alignment_tax, able)) else []
        comparisons += [f"{FORGETTING} vs before"] if config.bits_per_byte and BITS in known else []
    return scores, comparisons


def _asked_again(config: EvaluationConfig, tasks: Sequence[PreparedTask], reward_model: bool) -> set[str]:
    """Scores with item values of the blocks that a previous checkpoint without scores is asked too."""
    if config.previous is None or reward_model:
        return set()
    bits = {BITS} if config.bits_per_byte else set()
    return bits | {metric_name(task.name, label) for task in tasks for label in task.metric_labels(per_item=True)}


def _behaviour_names(config: EvaluationConfig) -> tuple[list[str], list[str]]:
    scores: list[str] = []
    comparisons: list[str] = []
    if config.safety:
        scores += [f"safety {metric}" for metric in expected_metrics(config.safety, config.maximum_bad_share)]
    if config.dialogues:
        judged = {"rating": config.dialogues.judge_model, "reward": config.dialogues.reward_model}
        scores += [f"dialogues {metric}" for metric, judge in judged.items() if judge is not None]
        scores += ["dialogues answered"] if has_answers(config.dialogues, config.maximum_bad_share) else []
    if config.diversity:
        scores += [f"diversity {metric}" for metric in METRICS]
        if config.reference or config.previous:
            comparisons += [f"diversity {metric} vs reference" for metric in METRICS]
    if config.memorisation:
        scores += ["memorisation extractable", "memorisation matching_share", "memorisation_heldout extractable"]
        comparisons.append("memorisation extractable vs heldout")
    if config.overoptimisation:
        comparisons += [f"overoptimisation {name} reward vs best checkpoint" for name in ("true", "learned")]
    return scores, comparisons
