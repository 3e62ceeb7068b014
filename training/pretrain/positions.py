"""From optimizer steps to sequence numbers: the one place where batch size, its ramp and earlier stages meet."""

from __future__ import annotations

from functools import lru_cache

from training.pretrain.config import PretrainConfig


def batch_size(config: PretrainConfig, step: int) -> int:
    """Sequences of optimizer step `step` (the first is 0), over all ranks."""
    local, plateaus = step - stage_step(config), _plateaus(config)
    return next(size for first, _, size in reversed(plateaus) if local >= first)


def first_sequence(config: PretrainConfig, step: int) -> int:
    """Number of the first sequence of optimizer step `step`, which is the number of sequences trained on before it."""
    local = step - stage_step(config)
    assert local >= 0, f"step {step} belongs to an earlier stage"
    first, sequences, size = next(p for p in reversed(_plateaus(config)) if local >= p[0])
    return stage_sequence(config) + sequences + (local - first) * size


def stage_step(config: PretrainConfig) -> int:
    """Optimizer steps of the earlier stages of the training."""
    return sum(stage.steps for stage in config.data.history)


def stage_sequence(config: PretrainConfig) -> int:
    """Sequences of the earlier stages."""
    return sum(stage.sequences for stage in config.data.history)


def tokens_before(config: PretrainConfig, step: int) -> int:
    """Tokens trained on before optimizer step `step`, earlier stages included (skipped steps count)."""
    past = sum(stage.sequences * stage.sequence_length for stage in config.data.history)
    return past + (first_sequence(config, step) - stage_sequence(config)) * config.data.sequence_length


def _plateaus(config: PretrainConfig) -> tuple[tuple[int, int, int], ...]:
    ramp = config.batch_ramp
    if ramp.start is None:
        return ((0, 0, config.global_batch_size),)
    return _ramp(ramp.start, ramp.increment or ramp.start, ramp.sequences, config.global_batch_size)


@lru_cache
def _ramp(start: int, increment: int, sequences: int, full: int) -> tuple[tuple[int, int, int], ...]:
    """(first step, sequences before it, batch size) of each size, the full one last.

    The sizes `start`, `start + increment`, ... below `full` see equal shares of `sequences`; a share ends with the step
    that reaches it.
    """
    sizes = range(start, full, increment)
    plateaus, step, done = [], 0, 0
    for number, size in enumerate(sizes, start=1):
        if done * len(sizes) < number * sequences:
            plateaus.append((step, done, size))
            steps = -(-(number * sequences - done * len(sizes)) // (size * len(sizes)))
            step, done = step + steps, done + steps * size
    return (*plateaus, (step, done, full))
