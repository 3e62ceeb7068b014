"""Learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from training.pretrain.config import PretrainConfig


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Learning rate of optimizer step `step` (the first is 0): linear warm-up, then the configured decay."""
    schedule, peak = config.schedule, config.optimizer.learning_rate
    if step < schedule.warmup_steps:
        return peak * (step + 1) / schedule.warmup_steps
    lowest = peak * schedule.minimum_ratio
    last = config.steps - 1
    if schedule.kind == "constant":
        return peak
    if schedule.kind == "wsd":
        start = max(schedule.warmup_steps, round(config.steps * (1 - schedule.decay_fraction)))
        if step < start:
            return peak
        share = (step - start) / max(1, last - start)
        return peak + (lowest - peak) * (math.sqrt(share) if schedule.decay_shape == "one_minus_sqrt" else share)
    done = (step - schedule.warmup_steps) / max(1, last - schedule.warmup_steps)
    return lowest + (peak - lowest) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
