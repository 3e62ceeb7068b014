"""On-policy distillation of a better teacher (the same SFT carried on a little longer) into the start model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.effects import measured_problems, once, policy_measures
from support.sums import MAX_NEW_TOKENS, divergence, start_model, write_instructions

GOAL = "KL to the teacher halved"
TEACHER: dict[str, Any] = {"max_steps": 850, "save_every": 850}
"""Changes to `sums.SFT` that make the teacher: right in nine of ten samples."""
SETTINGS: dict[str, Any] = {
    "divergence": "reverse_kl",
    "on_policy": 1.0,
    "max_new_tokens": MAX_NEW_TOKENS,
    "max_steps": 300,
    "batch_size": 64,
    "learning_rate": 5e-4,
    "save_every": 100,
    "threads": 1,
    "device": "cpu",
}


def run(start: Path, seed: int, work: Path, quick: bool) -> dict[str, float]:
    """KL(student || teacher) before and after, and what became of the accuracy."""
    from training.posttrain.distill import DistillConfig, train_distill

    teacher, data = start_model(**TEACHER), write_instructions(work / "instructions.jsonl")
    steps = {"max_steps": 10, "save_every": 10} if quick else {}
    settings = {**SETTINGS, **steps, "model": str(start), "teacher": str(teacher), "data": str(data), "seed": seed}
    config = DistillConfig.model_validate(settings)
    student = once(work / "student", lambda: train_distill(config, work / "student")) / "hf"
    problems = measured_problems(quick)
    before, after = (divergence(model, teacher, problems, seed=seed).value for model in (start, student))
    measures = {"kl_before": before, "kl_after": after, "kl_ratio": after / before}
    accuracy = policy_measures(start, student, seed, quick)
    return measures | {name: accuracy[name] for name in ("sampled_before", "sampled_after", "sampled_gain")}


def reached(means: dict[str, float]) -> bool:
    """Whether the mean over seeds meets the goal."""
    return means["kl_ratio"] <= 0.5
