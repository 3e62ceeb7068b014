"""Completions with all that reward sources and judges say about them, and what happens when a source fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from millbase.errors import StageError
from training.posttrain.ppo.config import RewardConfig
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.ppo.rewards import RewardSource, score
from training.posttrain.ppo.sampling import Completion


@dataclass(frozen=True)
class ScoredCompletion:
    """One completion."""

    completion: Completion
    text: str
    scores: list[float]
    """One of each source; 0 where it failed."""
    judged: list[float]
    """One of each of the monitor's judges."""
    errors: dict[str, str]
    """Reasons of the sources that failed, by name."""


def score_all(
    prompts: list[Prompt],
    completions: list[Completion],
    decode: Callable[[Completion], str],
    sources: list[RewardSource],
    judges: list[RewardSource],
    on_error: str,
) -> list[ScoredCompletion]:
    """Score the completions by every source and judge. A judge that fails stops the run: its verdict is a safeguard."""
    texts = [decode(completion) for completion in completions]
    scored = [score(source, prompts, texts, on_error) for source in sources]
    judged = [judge.score(prompts, texts) for judge in judges]
    return [
        ScoredCompletion(
            completion=completion,
            text=texts[i],
            scores=[one.values[i] for one in scored],
            judged=[one[i] for one in judged],
            errors={source.name: one.errors[i] for source, one in zip(sources, scored) if i in one.errors},
        )
        for i, completion in enumerate(completions)
    ]


def check_errors(scored: list[ScoredCompletion], config: RewardConfig) -> list[dict[str, Any]]:
    """Every failure as a record; StageError when more than `max_error_share` of the completions have one."""
    errors = [
        {"row": row, "source": source, "reason": reason}
        for row, item in enumerate(scored)
        for source, reason in item.errors.items()
    ]
    affected = sum(bool(item.errors) for item in scored)
    if affected > config.max_error_share * len(scored):
        raise StageError(
            f"rewards failed for {affected} of {len(scored)} completions, more than reward.max_error_share = "
            f"{config.max_error_share}; the first: {errors[0]['reason']}"
        )
    return errors
