"""A reward model: the starting checkpoint with a scalar head, trained on pairs of answers.

    llmill reward configs/posttrain/reward_demo.yaml --out runs/reward

The loss is the Bradley-Terry model's, -log sigmoid(r(chosen) - r(rejected)). K ranked answers to a prompt are one row:
every answer is read once, and the losses of all pairs are averaged, so that a prompt counts once however many answers
it has (Ouyang et al. 2022, equation 1). The reward of a conversation, rendered with the chat template, is read at its
last token.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from training.posttrain.config import PosttrainConfig


class RewardConfig(PosttrainConfig):
    """Training of a reward model on pairs or ranked lists of answers; writes a `reward-model`. `batch_size` counts
    prompts: a row of K ranked answers has K conversations."""

    center_rewards: float = Field(default=0.01, ge=0)
    """Weight of (r(chosen) + r(rejected))^2, which keeps rewards near zero: the Bradley-Terry loss leaves their mean
    free (Eisenstein et al. 2023). 0 for none."""
    use_margin: bool = False
    """Ask for r(chosen) - r(rejected) to exceed the row's `margin` (Touvron et al. 2023, Llama 2, equation 2)."""


def train_reward(config: RewardConfig, out: str | Path) -> Path:
    """Train a reward model on the pairs of `config.data` and write a `reward-model` artifact at `out`.

    Raises UserError subclasses for unusable data, models and settings; see `Stage.run` about resuming.
    """
    from training.posttrain.stages.reward import RewardStage

    return RewardStage(config).run(out)
