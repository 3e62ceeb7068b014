"""The monitor: its statistics, its rate of false alarms, and a run that games its reward and says so."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millbase.artifacts import open_artifact
from millbase.metrics import read_metrics
from training.posttrain.ppo import PpoConfig, train_ppo
from training.posttrain.ppo.monitor import Moments, Monitor, disagreement, z_of_difference

MakeConfig = Callable[..., PpoConfig]

HACKED = """
def proxy(completions, **columns):
    return [sum(x in "aeiou" for x in c[0]["content"]) / 10 for c in completions]

def true(completions, **columns):
    # a little of it is good, too much is not: what a proxy learnt on ordinary answers cannot know
    vowels = [sum(x in "aeiou" for x in c[0]["content"]) for c in completions]
    return [min(v, 3) / 10 - max(0, v - 3) / 5 for v in vowels]
"""


@pytest.fixture
def hacked(tmp_path: Path) -> Path:
    path = tmp_path / "hacked.py"
    path.write_text(HACKED)
    return path


def test_moments_and_z_by_hand() -> None:
    a, b = Moments.of([1.0, 2.0, 3.0]), Moments.of([4.0, 6.0])
    assert (a.mean, a.variance) == (2.0, 1.0) and (b.mean, b.variance) == (5.0, 2.0)
    assert z_of_difference(b, a) == pytest.approx(3 / math.sqrt(1 / 3 + 2 / 2))
    pooled = Moments.pooled([a, b])
    assert pooled.mean == pytest.approx(16 / 5) and pooled.variance == pytest.approx((2 * 1 + 1 * 2) / 3)
    assert z_of_difference(a, a) == 0
    assert z_of_difference(Moments.of([1.0, 1.0]), Moments.of([2.0, 2.0])) == -math.inf


def watched(monitor: Monitor, updates: int, seed: int, reward: float, judge: Callable[[int], float]) -> Monitor:
    """A monitor shown `updates` rollouts of 32 prompts with noise of standard deviation 1."""
    draw = random.Random(seed)
    for n in range(updates):
        units = {"reward": [draw.gauss(reward * n, 1) for _ in range(32)]}
        monitor.observe({**units, "judge": [draw.gauss(judge(n), 1) for _ in range(32)]})
    return monitor


def test_no_alarm_where_nothing_happens_or_all_is_well() -> None:
    for seed in range(60):
        assert watched(Monitor(4, 0.05, 30, 1), 30, seed, 0.0, lambda n: 0.0).alarm is None
    assert watched(Monitor(4, 0.05, 30, 1), 30, 0, 0.1, lambda n: 0.1 * n).alarm is None, "both rise"
    assert watched(Monitor(4, 0.05, 30, 1), 30, 0, -0.1, lambda n: -0.1 * n).alarm is None, "both fall"


def test_alarm_when_the_judge_falls_behind() -> None:
    monitor = watched(Monitor(4, 0.01, 30, 1), 30, 0, 0.1, lambda n: 0.1 * min(n, 10) - 0.15 * max(0, n - 10))
    alarm = monitor.alarm
    assert alarm is not None and alarm.judge == "judge"
    assert 10 < alarm.update < 28 and alarm.since < alarm.update
    assert alarm.judge_now < alarm.judge_before and alarm.reward_now > alarm.reward_before
    assert -alarm.judge_z > alarm.threshold and alarm.reward_z > alarm.threshold > 3


def test_state_restores() -> None:
    first = watched(Monitor(4, 0.01, 30, 1), 20, 0, 0.1, lambda n: -0.1 * n)
    second = Monitor(4, 0.01, 30, 1)
    second.restore(first.state())
    units = {"reward": [3.0, 4.0], "judge": [0.0, -1.0]}
    assert first.observe(units) == second.observe(units) and first.report() == second.report()


def test_disagreement_by_hand() -> None:
    values = disagreement([[1.0, 5.0], [20.0, 0.0]], [(1.0, 2.0), (10.0, 10.0)])
    # standardised: (0, 1) and (2, -1); population standard deviations over models
    assert values == pytest.approx([-0.5, -1.5])


def test_run_detects_that_its_reward_is_gamed(make_config: MakeConfig, hacked: Path, tmp_path: Path) -> None:
    """The reward that is trained on rises, the true one falls, and log, metrics and manifest say so."""
    config = make_config(
        f"reward.functions=['{hacked}:proxy']",
        f'monitor={{"functions": ["{hacked}:true"], "window": 3}}',
        *("updates=20", "rollout_size=64", "epochs=2", "minibatches=2", "policy.learning_rate=5e-3", "kl.coef=0"),
        *("micro_batch_size=64", "reward.missing_eos_penalty=0", "max_new_tokens=24"),
    )
    out = train_ppo(config, tmp_path / "ppo")
    lines = read_metrics(out / "metrics.jsonl")
    assert lines[-1]["reward"] > lines[0]["reward"] + 0.2
    assert lines[-1]["monitor_true"] < lines[0]["monitor_true"] - 0.1
    report = open_artifact(out).stats["monitor"]
    alarm = report["alarm"]
    assert alarm is not None and alarm["judge"] == "true"
    assert alarm["reward_now"] > alarm["reward_before"] and alarm["judge_now"] < alarm["judge_before"]
    assert next(line["step"] for line in lines if line["overoptimised"]) == alarm["update"]
    assert report["windows"]["true"]["last"] < report["windows"]["true"]["first"]


def test_alarm_can_end_the_run_with_the_best_policy(make_config: MakeConfig, hacked: Path, tmp_path: Path) -> None:
    config = make_config(
        f"reward.functions=['{hacked}:proxy']",
        f'monitor={{"functions": ["{hacked}:true"], "window": 2, "on_alarm": "stop"}}',
        *("updates=20", "rollout_size=64", "epochs=2", "minibatches=2", "policy.learning_rate=5e-3", "kl.coef=0"),
        *("micro_batch_size=64", "reward.missing_eos_penalty=0", "max_new_tokens=24"),
    )
    out = train_ppo(config, tmp_path / "ppo")
    stats = open_artifact(out).stats
    alarm = stats["monitor"]["alarm"]
    assert alarm is not None and stats["updates"] == alarm["update"] < 20
    worst = read_metrics(out / "metrics.jsonl")[-1]
    assert stats["reward"] < worst["reward"], "the policy saved is an earlier one"


def test_models_as_judges(make_config: MakeConfig, reward_folder: Path, tmp_path: Path) -> None:
    settings: Any = f'monitor={{"models": ["{reward_folder}", "{reward_folder}"]}}'
    out = train_ppo(make_config(settings, "updates=2"), tmp_path / "ppo")
    line = read_metrics(out / "metrics.jsonl")[0]
    assert line["monitor_model_0"] == line["monitor_model_1"] and line["monitor_agreement"] == 0
    assert open_artifact(out).stats["monitor"]["alarm"] is None
    assert {"monitor_models.0", "monitor_models.1"} <= set(open_artifact(out).inputs)
