"""A verifiable reward as a source of rewards: for the trainers' lists of sources, and as a plain function."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from millbase.errors import ConfigError, InputError, StageError
from millbase.verify.sandbox import describe
from training.posttrain.verifiable.answers import score_maths, score_numeric
from training.posttrain.verifiable.config import (
    CodeReward,
    ContainsReward,
    InstructionsReward,
    MathsReward,
    NumericReward,
)
from training.posttrain.verifiable.programs import score_code
from training.posttrain.verifiable.texts import score_contains, score_format, score_instructions, score_length

if TYPE_CHECKING:
    from training.posttrain.ppo.prompts import Prompt

Scorer = Callable[[Any, Sequence[str], Sequence[Mapping[str, Any]]], list[float]]
"""(configuration, completions, the prompt rows' columns) to one number each."""

SCORERS: dict[str, Scorer] = {
    "numeric": score_numeric,
    "maths": score_maths,
    "code": score_code,
    "format": score_format,
    "contains": score_contains,
    "instructions": score_instructions,
    "length": score_length,
}
"""Every check by its name."""


class VerifiableSource:
    """One verifiable reward; a `RewardSource` of the trainers."""

    def __init__(self, config: Any) -> None:
        self.config, self.weight = config, float(config.weight)
        self.name: str = config.name or config.check

    def score(self, prompts: list[Prompt], completions: list[str]) -> list[float]:
        """One number per completion. StageError where the check cannot be made or gives no finite number."""
        try:
            scores = SCORERS[self.config.check](self.config, completions, [prompt.columns for prompt in prompts])
        except Exception as error:  # what the check of one odd text or row raises must name its source
            raise StageError(f"verifiable reward {self.name!r} failed: {error}") from error
        bad = next((score for score in scores if not math.isfinite(score)), None)
        if bad is not None:
            raise StageError(f"verifiable reward {self.name!r} returned {bad}; every reward must be a finite number")
        return scores

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        """InputError where prompt rows lack a column that the check reads: better now than in the middle of a run."""
        for column in _needed(self.config):
            lacking = sum(prompt.columns.get(column) is None for prompt in prompts)
            if lacking:
                known = sorted({name for prompt in prompts for name in prompt.columns})
                raise InputError(
                    f"verifiable reward {self.name!r} reads the column {column!r}, which {lacking} of {len(prompts)} "
                    f"prompt rows do not have (columns: {', '.join(known) or 'none'}); add it, or name another in "
                    "reward.verifiable"
                )


def load_verifiable(configs: Sequence[Any]) -> list[VerifiableSource]:
    """Sources for the entries of `reward.verifiable`. ConfigError for a name given twice, or where programs would have
    to run unconfined."""
    sources = [VerifiableSource(config) for config in configs]
    twice = [name for name, count in Counter(source.name for source in sources).items() if count > 1]
    if twice:
        raise ConfigError(f"reward.verifiable has two entries called {twice[0]!r}; give each a name of its own")
    for source in sources:
        if isinstance(source.config, CodeReward):
            describe(source.config.sandbox)  # refuses here, before anything is sampled
    return sources


def reward_function(config: Any) -> Callable[..., list[float]]:
    """A check as a reward function `f(completions, **columns)`, for settings of the form `module:name`."""

    def function(completions: Sequence[Any], **columns: Any) -> list[float]:
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        rows = [{name: values[i] for name, values in columns.items()} for i in range(len(texts))]
        return SCORERS[config.check](config, texts, rows)

    function.__name__ = str(config.check)
    return function


def _needed(config: Any) -> list[str]:
    if isinstance(config, NumericReward | MathsReward | CodeReward | ContainsReward):
        return [config.column]
    if isinstance(config, InstructionsReward) and not config.instructions:
        return ["instruction_id_list"]
    return []
