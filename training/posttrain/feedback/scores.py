"""Scores of answers from reward models, functions and verifiable checks, and what happens when a source fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from millbase.errors import StageError
from training.posttrain.feedback.answers import Answered
from training.posttrain.feedback.config import ScoreConfig
from training.posttrain.ppo.config import RewardConfig as PpoRewardConfig
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.ppo.rewards import RewardSource, load_sources, score
from training.posttrain.verifiable import load_verifiable


class Scorer:
    """All sources of a configuration."""

    def __init__(self, config: ScoreConfig, device: torch.device) -> None:
        """UserError when a model does not load or a function cannot be found."""
        self.config = config
        self.sources: list[RewardSource] = []
        if config.model is not None or config.functions:
            rewards = PpoRewardConfig(
                model=config.model,
                model_weight=config.model_weight,
                functions=config.functions,
                function_weights=config.function_weights,
                batch_size=config.batch_size,
            )
            self.sources += load_sources(rewards, device)
        self.verifiable = load_verifiable(config.verifiable)
        self.sources += self.verifiable
        self.answers, self.failed, self.first = 0, 0, ""

    def check(self, prompts: Sequence[Prompt]) -> None:
        """UserError when the prompts lack a column that a check needs, before anything is sampled."""
        for source in self.verifiable:
            source.check_prompts(list(prompts))

    def score(self, rows: Sequence[Answered], prompts: Sequence[Prompt]) -> None:
        """Fill in the scores of `rows`, the answers to `prompts`. StageError when too many have none."""
        answers = [answer for row in rows for answer in row.answers]
        repeated = [prompt for row, prompt in zip(rows, prompts, strict=True) for _ in row.answers]
        texts = [answer.text for answer in answers]
        for answer in answers:
            answer.score = 0.0
        for source in self.sources:
            scored = score(source, repeated, texts, self.config.on_error)
            for i, answer in enumerate(answers):
                if i in scored.errors:
                    answer.score, answer.error = None, f"{source.name}: {scored.errors[i]}"
                    continue
                answer.sources[source.name] = scored.values[i]
                if answer.score is not None:
                    answer.score += source.weight * scored.values[i]

    def count(self, rows: Sequence[Answered]) -> None:
        """Count answers without a score, those of finished pieces too. StageError when they are too many."""
        for answer in (answer for row in rows for answer in row.answers):
            self.answers += 1
            if answer.score is None:
                self.failed += 1
                self.first = self.first or str(answer.error)
        if self.failed > self.config.max_error_share * self.answers:
            raise StageError(
                f"{self.failed} of {self.answers} answers have no score, more than reward.max_error_share = "
                f"{self.config.max_error_share}; the first: {self.first}"
            )


def score_inputs(config: ScoreConfig) -> dict[str, Any]:
    """Named inputs for the manifest; a function's file is an input like any other."""
    places = [reference.rpartition(":")[0] for reference in config.functions]
    files = [place for place in places if place.endswith(".py")]
    return {"reward_model": config.model, "reward_functions": files}
