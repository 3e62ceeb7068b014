"""Online DPO with the true reward: the best of four answers against the worst, sampled anew at every update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.effects import policy_measures
from support.sums import MAX_NEW_TOKENS, write_prompts

GOAL = "sampled accuracy +6 points at KL under 1"

SETTINGS: dict[str, Any] = {
    "reward": {"verifiable": [{"check": "numeric", "extract": "whole"}]},
    "samples": 4,
    "updates": 80,
    "prompts_per_update": 64,
    "beta": 0.1,
    "sft_weight": 0.1,
    "learning_rate": 1e-4,
    "warmup_updates": 3,
    "micro_batch_size": 64,
    "max_new_tokens": MAX_NEW_TOKENS,
    "device": "cpu",
}


def run(start: Path, seed: int, work: Path, quick: bool) -> dict[str, float]:
    """Train the start model with online DPO and measure it on held-out problems."""
    return policy_measures(start, train(start, seed, work, {"updates": 3} if quick else {}), seed, quick)


def train(start: Path, seed: int, work: Path, changes: dict[str, Any] | None = None) -> Path:
    """The policy's folder after `SETTINGS` with `changes`."""
    from training.posttrain.feedback.config import OnlineDpoConfig
    from training.posttrain.feedback.online import train_online_dpo

    prompts = write_prompts(work / "prompts.jsonl")
    settings = {"model": str(start), "prompts": str(prompts), "seed": seed, **SETTINGS, **(changes or {})}
    return train_online_dpo(OnlineDpoConfig.model_validate(settings), work / "online") / "hf"


def reached(means: dict[str, float]) -> bool:
    """Whether the mean over seeds meets the goal."""
    return means["sampled_gain"] >= 6 and means["kl"] < 1
