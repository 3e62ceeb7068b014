"""PPO with the true reward: 1 for the right sum, 0 for anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.effects import once, policy_measures
from support.sums import MAX_NEW_TOKENS, write_prompts

GOAL = "sampled accuracy +6 points at KL under 1"
REWARD = str(Path(__file__).resolve().parent.parent / "sums.py") + ":exact_answer"

SETTINGS: dict[str, Any] = {
    "reward": {"functions": [REWARD]},
    "kl": {"coef": 0.02},
    "policy": {"learning_rate": 2e-4, "warmup_updates": 3},
    "critic": {"learning_rate": 1e-3, "pretrain_updates": 2},
    "updates": 20,
    "rollout_size": 256,
    "epochs": 2,
    "minibatches": 4,
    "micro_batch_size": 128,
    "max_new_tokens": MAX_NEW_TOKENS,
    "save_every": 4,
    "threads": 1,
    "device": "cpu",
}


def run(start: Path, seed: int, work: Path, quick: bool) -> dict[str, float]:
    """Train the start model with PPO and measure it on held-out problems."""
    return policy_measures(start, train(start, seed, work, {"updates": 3} if quick else {}), seed, quick)


def train(start: Path, seed: int, work: Path, changes: dict[str, Any] | None = None) -> Path:
    """The policy's folder after PPO with `SETTINGS` and `changes`."""
    from training.posttrain.ppo import PpoConfig, train_ppo

    prompts = write_prompts(work / "prompts.jsonl")
    settings = {"model": str(start), "prompts": str(prompts), "seed": seed, **SETTINGS, **(changes or {})}
    return once(work / "ppo", lambda: train_ppo(PpoConfig.model_validate(settings), work / "ppo")) / "hf"


def reached(means: dict[str, float]) -> bool:
    """Whether the mean over seeds meets the goal."""
    return means["sampled_gain"] >= 6 and means["kl"] < 1
