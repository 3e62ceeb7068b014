"""Which completions make up which optimizer step, and the learning rate of each step: pure functions of the numbers."""

from __future__ import annotations

import math

import torch

from millbase.seeds import derive_seed
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group


def minibatches(config: PpoConfig, update: int, epoch: int) -> list[list[int]]:
    """Rows of the rollout in each optimizer step of pass `epoch`: every row in exactly one, newly shuffled per pass."""
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "minibatches", update, epoch))
    order = torch.randperm(config.rollout_size, generator=generator).tolist()
    size = config.rollout_size // config.minibatches
    return [order[start : start + size] for start in range(0, len(order), size)]


def micro_batches(lengths: list[int], rows: list[int], group: Group, size: int) -> list[list[int]]:
    """This process's part of a minibatch, in forward passes of at most `size` sequences of like length.

    The loss is a sum over tokens divided by the minibatch's token count, so how it is cut does not change the step.
    """
    mine = group.share(sorted(rows, key=lambda row: (-lengths[row], row)))
    return [mine[start : start + size] for start in range(0, len(mine), size)]


def learning_rate_scale(config: PpoConfig, update: int, first: int, warmup: int, step: int) -> float:
    """Factor on the peak learning rate at optimizer step `step` (from 0) of update `update`.

    Training starts at update `first`; there are `warmup` updates of linear warm-up, then the configured decay to
    `min_learning_rate_ratio` at the end of the run. Steps left out by an early stop do not move the schedule.
    """
    per_update = config.epochs * config.minibatches
    done = update - first + (step + 1) / per_update
    if done <= warmup:
        return done / warmup
    if config.schedule == "constant":
        return 1.0
    share = (done - warmup) / max(config.total_updates - first - warmup, 1 / per_update)
    share = min(max(share, 0.0), 1.0)
    floor = config.min_learning_rate_ratio
    if config.schedule == "linear":
        return 1 - (1 - floor) * share
    return floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2
