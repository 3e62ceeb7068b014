"""GRPO with the true reward, checked as a number: 1 for the right sum and nothing else, 0 for anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.effects import policy_measures
from support.sums import MAX_NEW_TOKENS, write_prompts

GOAL = "sampled accuracy +6 points at KL under 1"

SETTINGS: dict[str, Any] = {
    "method": "grpo",
    "reward": {"verifiable": [{"check": "numeric", "extract": "whole"}]},
    # half of the groups of such a model have equal scores
    "dynamic": {"max_tries": 3},
    "kl": {"coef": 0.02},
    "learning_rate": 2e-4,
    "warmup_updates": 3,
    "updates": 20,
    "rollout_size": 256,
    "samples_per_prompt": 8,
    "epochs": 2,
    "minibatches": 4,
    "micro_batch_size": 128,
    "max_new_tokens": MAX_NEW_TOKENS,
    "threads": 1,
    "device": "cpu",
}
"""Where PPO has them too they are its own, which were chosen on tuning problems; see docs/log.md."""


def run(start: Path, seed: int, work: Path, quick: bool) -> dict[str, float]:
    """Train the start model with GRPO and measure it on held-out problems."""
    return policy_measures(start, train(start, seed, work, {"updates": 3} if quick else {}), seed, quick)


def train(start: Path, seed: int, work: Path, changes: dict[str, Any] | None = None) -> Path:
    """The policy's folder after `SETTINGS` with `changes`."""
    from training.posttrain.group import GroupConfig, train_group

    prompts = write_prompts(work / "prompts.jsonl")
    settings = {"model": str(start), "prompts": str(prompts), "seed": seed, **SETTINGS, **(changes or {})}
    return train_group(GroupConfig.model_validate(settings), work / "grpo") / "hf"


def reached(means: dict[str, float]) -> bool:
    """Whether the mean over seeds meets the goal."""
    return means["sampled_gain"] >= 6 and means["kl"] < 1
