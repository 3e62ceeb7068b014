"""A reward model that learns a rule from pairs: of two answers the larger number is the better one, right or wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.effects import measured_problems, once
from support.sums import TRAINING, Problem, messages, write_rows

GOAL = "95% of held-out pairs"
SETTINGS: dict[str, Any] = {
    "max_steps": 200,
    "batch_size": 32,
    "learning_rate": 5e-4,
    "save_every": 200,
    "threads": 1,
    "device": "cpu",
}


def pairs(problems: Sequence[Problem], seed: int) -> list[dict[str, Any]]:
    """One pair for each problem: two different numbers of the sums' range."""
    draw = random.Random(f"reward {seed}")
    rows = []
    for problem in problems:
        low, high = sorted(draw.sample(range(20, 199), 2))
        rows.append(
            {"prompt": messages(problem)}
            | {key: [{"role": "assistant", "content": str(n)}] for key, n in (("chosen", high), ("rejected", low))}
        )
    return rows


def run(start: Path, seed: int, work: Path, quick: bool) -> dict[str, float]:
    """Share of held-out pairs that are ranked by the rule, before (a fresh head) and after."""
    from training.posttrain.reward import RewardConfig, train_reward

    data = write_rows(work / "pairs.jsonl", pairs(TRAINING, seed))
    heldout = write_rows(work / "heldout.jsonl", pairs(measured_problems(quick), seed + 1000))
    steps = {"max_steps": 10, "save_every": 10} if quick else {}
    settings = {**SETTINGS, **steps, "model": str(start), "data": str(data), "seed": seed}
    trained = once(work / "reward", lambda: train_reward(RewardConfig.model_validate(settings), work / "reward"))
    return {"pair_accuracy": 100 * pair_accuracy(trained, heldout)}


def pair_accuracy(model: Path, file: Path) -> float:
    """Share of the pairs in `file` whose chosen answer gets the higher reward."""
    import json

    from training.load import load_reward_model

    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    loaded = load_reward_model(model, device="cpu")
    chosen, rejected = (loaded.score([row["prompt"] + row[key] for row in rows], 256) for key in ("chosen", "rejected"))
    return sum(better > worse for better, worse in zip(chosen, rejected)) / len(rows)


def reached(means: dict[str, float]) -> bool:
    """Whether the mean over seeds meets the goal."""
    return means["pair_accuracy"] >= 95
