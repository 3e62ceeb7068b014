"""Minibatches cover every row once per pass; learning rates at the ends of their schedules."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from training.posttrain.ppo.batches import cut, learning_rate_scale, micro_batches, minibatches
from training.posttrain.ppo.config import PpoConfig, RewardConfig
from training.posttrain.ppo.distributed import Group


def test_every_row_once_per_pass_in_a_new_order(make_config: Callable[..., PpoConfig]) -> None:
    config = make_config("minibatches=4", "epochs=2")
    passes = [minibatches(config, 3, epoch) for epoch in (0, 1)]
    for steps in passes:
        assert [len(step) for step in steps] == [4] * 4
        assert sorted(row for step in steps for row in step) == list(range(16))
    assert passes[0] != passes[1]
    assert minibatches(config, 3, 0) == passes[0]
    assert minibatches(config, 4, 0) != passes[0]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_processes_share_a_minibatch(size: int) -> None:
    lengths = [5, 9, 2, 7, 7, 1, 8]
    rows = [6, 0, 2, 3, 5, 1]
    parts = [micro_batches(lengths, rows, Group(rank, size, torch.device("cpu")), 2) for rank in range(size)]
    assert sorted(row for part in parts for batch in part for row in batch) == sorted(rows)
    assert all(len(batch) <= 2 for part in parts for batch in part)
    for part in parts:
        ordered = [lengths[row] for batch in part for row in batch]
        assert ordered == sorted(ordered, reverse=True)


@pytest.mark.parametrize("padding", [0, 3, 10, 1000])
def test_passes_are_cut_where_padding_is_worth_it(padding: int) -> None:
    """Against every way of cutting; with nothing to lose by a pass each length is alone, with much only `size` cuts."""
    lengths, size = [19, 18, 18, 11, 10, 4, 4, 4, 1], 4

    def cost(parts: list[tuple[int, int]]) -> int:
        return sum(lengths[start] * (end - start) + padding for start, end in parts)

    ways = []
    for chosen in itertools.product((False, True), repeat=len(lengths) - 1):
        places = [0, *(n + 1 for n, here in enumerate(chosen) if here), len(lengths)]
        parts = list(itertools.pairwise(places))
        if all(end - start <= size for start, end in parts):
            ways.append(cost(parts))
    parts = cut(lengths, size, padding)
    assert [n for start, end in parts for n in range(start, end)] == list(range(len(lengths)))
    assert max(end - start for start, end in parts) <= size
    assert cost(parts) == min(ways)
    assert cut([], size, padding) == []


def test_gather_inverts_share() -> None:
    group = Group(0, 1, torch.device("cpu"))
    assert group.gather(group.share([3, 1, 2])) == [3, 1, 2]


def test_warm_up_then_decay(make_config: Callable[..., PpoConfig]) -> None:
    config = make_config("updates=10", "epochs=2", "minibatches=2", "schedule=linear", "min_learning_rate_ratio=0.1")

    def scale(update: int, step: int) -> float:
        return learning_rate_scale(config, update, 0, 2, step)

    assert scale(0, 0) == pytest.approx(1 / 8)
    assert scale(1, 3) == pytest.approx(1.0)
    assert scale(5, 3) == pytest.approx(1 - 0.9 * 4 / 8)
    assert scale(9, 3) == pytest.approx(0.1)


def test_schedules_and_no_warm_up(make_config: Callable[..., PpoConfig]) -> None:
    cosine = make_config("updates=4", "schedule=cosine", "min_learning_rate_ratio=0")
    assert learning_rate_scale(cosine, 1, 0, 0, 0) == pytest.approx(0.5)
    assert learning_rate_scale(cosine, 3, 0, 0, 0) == pytest.approx(0.0, abs=1e-9)
    constant = make_config("updates=4", "schedule=constant")
    assert [learning_rate_scale(constant, u, 0, 0, 0) for u in range(4)] == [1.0] * 4


def test_uneven_divisions_are_refused(make_config: Callable[..., PpoConfig]) -> None:
    for override, message in (
        ("minibatches=3", "rollout_size = 16 is not a multiple of minibatches = 3"),
        ("samples_per_prompt=5", "samples_per_prompt = 5"),
        ("processes=5", "processes = 5"),
    ):
        with pytest.raises(Exception, match=message):
            make_config(override)


def test_defaults_are_the_published_ones() -> None:
    """Stiennon et al. 2020, appendix B, and Huang et al. 2024, table 8."""
    config = PpoConfig(model="m", prompts="p", reward=RewardConfig(functions=["a:b"]))
    assert (config.gamma, config.lam, config.adam_epsilon, config.whiten_advantages) == (1.0, 0.95, 1e-5, True)
    assert (config.policy.clip_low, config.policy.clip_high, config.critic.clip) == (0.2, 0.2, 0.2)
    assert (config.kl.coef, config.kl.estimator, config.schedule, config.reward.whiten) == (0.05, "k1", "linear", False)
