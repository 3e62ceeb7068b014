"""Which completions make up which optimizer step, and the learning rate of each step: pure functions of the numbers."""

from __future__ import annotations

import math

import torch

from millbase.seeds import derive_seed
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.options import PADDING_WORTH_A_PASS


def minibatches(config: PpoConfig, update: int, epoch: int) -> list[list[int]]:
    """Rows of the rollout in each optimizer step of pass `epoch`: every row in exactly one, newly shuffled per pass."""
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "minibatches", update, epoch))
    order = torch.randperm(config.rollout_size, generator=generator).tolist()
    size = config.rollout_size // config.minibatches
    return [order[start : start + size] for start in range(0, len(order), size)]


def micro_batches(
    lengths: list[int], rows: list[int], group: Group, size: int, padding: int = PADDING_WORTH_A_PASS
) -> list[list[int]]:
    """This process's part of a minibatch, in forward passes of at most `size` sequences of like length.

    The loss is a sum over tokens divided by the minibatch's token count, so how it is cut does not change the step.
    """
    mine = group.share(sorted(rows, key=lambda row: (-lengths[row], row)))
    return [mine[start:end] for start, end in cut([lengths[row] for row in mine], size, padding)]


def cut(lengths: list[int], size: int, padding: int = PADDING_WORTH_A_PASS) -> list[tuple[int, int]]:
    """Parts (start, end) of sequences sorted from long to short, at most `size` in each, every part padded to its
    first: those for which the tokens, padding included, plus `padding` for every part are fewest."""
    # costs[n] and starts[n]: the cheapest cut of the n longest, and where its last part begins
    costs, starts = [0], [0]
    for end in range(1, len(lengths) + 1):
        cost, start = min(
            (costs[start] + lengths[start] * (end - start) + padding, start) for start in range(max(0, end - size), end)
        )
        costs.append(cost)
        starts.append(start)
    parts: list[tuple[int, int]] = []
    end = len(lengths)
    while end:
        parts.append((starts[end], end))
        end = starts[end]
    return parts[::-1]


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
