"""DPO with its alarm and a supervised term, on pairs of the right answer and a wrong one of the start model's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.effects import once, policy_measures
from support.sums import TRAINING, answer, complete, is_right, messages, write_rows

GOAL = "task accuracy not lower, sampled and greedy"
PROBLEMS = 1500
"""Training problems that answers are drawn for; those with a wrong one give a pair."""
SETTINGS: dict[str, Any] = {
    "beta": 0.1,
    "sft_weight": 0.2,
    "chosen_drop": 0.1,
    "on_chosen_drop": "warn",
    "max_steps": 100,
    "batch_size": 32,
    "learning_rate": 1e-4,
    "warmup_share": 0.1,
    "save_every": 100,
    "threads": 1,
    "device": "cpu",
}


def run(start: Path, seed: int, work: Path, quick: bool) -> dict[str, float]:
    """Accuracy before and after. `alarm` is 1 where the chosen answers' log-probability fell too far, `chosen_change`
    the worst change seen, in per cent of it."""
    from millbase.artifacts import open_artifact
    from training.posttrain.dpo import DpoConfig, train_dpo

    data = write_rows(work / "pairs.jsonl", pairs(start, seed, 200 if quick else PROBLEMS))
    steps = {"max_steps": 10, "save_every": 10} if quick else {}
    settings = {**SETTINGS, **steps, "model": str(start), "data": str(data), "seed": seed}
    trained = once(work / "dpo", lambda: train_dpo(DpoConfig.model_validate(settings), work / "dpo"))
    drop = open_artifact(trained).stats["chosen_drop"]
    found = {"alarm": float(drop["first_step"] is not None), "chosen_change": 100 * drop["worst"]}
    return policy_measures(start, trained / "hf", seed, quick) | found


def pairs(start: Path, seed: int, count: int) -> list[dict[str, Any]]:
    """The right answer against a wrong sample of `start`, for the first `count` training problems that have one."""
    problems = TRAINING[:count]
    rows = []
    for problem, texts in zip(problems, complete(start, problems, samples=2, seed=seed)):
        wrong = next((text for text in texts if text.strip() and not is_right(text, problem)), None)
        if wrong is not None:
            said = {"chosen": answer(problem), "rejected": wrong}
            rows.append(
                {"prompt": messages(problem)}
                | {key: [{"role": "assistant", "content": text}] for key, text in said.items()}
            )
    return rows


def reached(means: dict[str, float]) -> bool:
    """Whether the means over seeds meet the goal."""
    return means["sampled_gain"] >= 0 and means["greedy_gain"] >= 0
