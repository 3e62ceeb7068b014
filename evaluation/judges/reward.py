"""A reward model as a judge."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.records import Prompt
from training.load import LoadedRewardModel, load_reward_model


class RewardModelJudge:
    """Scores the prompt with the response as the assistant's turn."""

    name = "reward_model"
    needs_answer = False

    def __init__(self, path: str, *, dtype: str, device: str | None, batch_size: int) -> None:
        self.loaded: LoadedRewardModel = load_reward_model(path, dtype=dtype, device=device)
        self.batch_size = batch_size

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """One reward per response."""
        conversations = [
            [*prompt.messages, {"role": "assistant", "content": response}]
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        return self.loaded.score(conversations, batch_size=self.batch_size)
