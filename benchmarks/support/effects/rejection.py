"""One round of rejection sampling: sixteen answers to each of 3,000 problems, one right one of each kept, SFT on them.

The policy learns from nothing but its own answers; the truth only says which to keep.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.effects import policy_measures
from support.sums import MAX_NEW_TOKENS, write_prompts

GOAL = "sampled accuracy up by 3 points in one round"

SAMPLING: dict[str, Any] = {
    "reward": {"verifiable": [{"check": "numeric", "extract": "whole"}]},
    "min_score": 1.0,
    "limit": 3000,
    "samples": 16,
    "piece": 250,
    "sampling_batch_size": 1000,
    "max_new_tokens": MAX_NEW_TOKENS,
    "device": "cpu",
}
TRAINING: dict[str, Any] = {
    "learning_rate": 5e-4,
    "batch_size": 50,
    "epochs": 2,
    "log_every": 10,
    "save_every": 500,
    "device": "cpu",
}


def run(start: Path, seed: int, work: Path, quick: bool) -> dict[str, float]:
    """One round from the start model, measured on held-out problems."""
    changes = {"limit": 250, "samples": 4} if quick else {}
    return policy_measures(start, train(start, seed, work, changes), seed, quick)


def train(start: Path, seed: int, work: Path, changes: dict[str, Any] | None = None, **training: Any) -> Path:
    """The policy's folder after one round; `changes` to `SAMPLING`, `training` to `TRAINING`."""
    from training.posttrain.feedback.config import RejectConfig
    from training.posttrain.feedback.reject import reject
    from training.posttrain.sft import SftConfig, train_sft

    prompts = write_prompts(work / "prompts.jsonl")
    settings = {"model": str(start), "prompts": str(prompts), "seed": seed, **SAMPLING, **(changes or {})}
    best = reject(RejectConfig.model_validate(settings), work / "best")
    data = str(best / "instructions.jsonl")
    settings = {"model": str(start), "data": data, "seed": seed, **TRAINING, **training}
    return train_sft(SftConfig.model_validate(settings), work / "sft") / "hf"


def reached(means: dict[str, float]) -> bool:
    """Whether the mean over seeds meets the goal."""
    return means["sampled_gain"] >= 3
