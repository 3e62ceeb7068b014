"""Ensembles of reward models: how rewards are joined, calibration against scipy's own fit, and members that changed."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from evaluation import EvaluationConfig, evaluate
from millbase.artifacts import open_artifact
from millbase.errors import ConfigError, InputError
from training.load import load_model, load_reward_model
from training.posttrain.ensemble import EnsembleConfig, build_ensemble, temperature
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.config import RewardConfig as PpoReward
from training.posttrain.ppo.models import load_networks
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.ppo.rewards import load_sources
from training.posttrain.reward import RewardConfig, train_reward
from training.reward_ensemble import LoadedEnsemble, combined

from .conftest import pairs, small_run


@pytest.fixture(scope="module")
def members(checkpoint: Path, preferences: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("members")
    settings = small_run(checkpoint, preferences, max_steps=2)
    return [train_reward(RewardConfig(**settings, seed=seed), folder / f"reward_{seed}") for seed in range(3)]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, write_rows: Any) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "judged.jsonl", pairs(30, seed=11))


def conversations() -> list[list[dict[str, str]]]:
    return [row["prompt"] + row["chosen"] for row in pairs(7, seed=3)]


def test_how_rewards_are_joined() -> None:
    rewards = [1.0, 2.0, 4.5]
    assert combined(rewards, "mean", 9.0) == 2.5
    assert combined(rewards, "min", 9.0) == 1.0
    # deviations -1.5, -0.5, 2: variance 6.5 / 2
    assert combined(rewards, "lower", 2.0) == pytest.approx(2.5 - 2 * math.sqrt(3.25))
    assert combined([3.0], "lower", 2.0) == 3.0


@pytest.mark.parametrize("combine", ["mean", "lower", "min"])
def test_scores_of_an_ensemble(combine: str, members: list[Path], judged: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"members": [str(m) for m in members], "combine": combine, "width": 0.7}
    config = EnsembleConfig(**settings, data=str(judged))
    out = build_ensemble(config, tmp_path / "ensemble")
    loaded = load_reward_model(out)
    assert isinstance(loaded, LoadedEnsemble) and loaded.kind == "reward-ensemble"
    rows, texts = pairs(30, seed=11), conversations()
    columns = []
    for path in members:
        alone = load_reward_model(path)
        chosen, rejected = (np.array(alone.score([r["prompt"] + r[s] for r in rows])) for s in ("chosen", "rejected"))
        margins = chosen - rejected
        # the likeliest slope of a logistic regression without intercept, on a fine grid of log-temperatures
        grid = np.exp(np.linspace(-5, 5, 20001))
        losses = np.logaddexp(0, -margins[:, None] / grid).mean(axis=0)
        best = grid[losses.argmin()]
        assert temperature(margins.tolist()) == pytest.approx(best, rel=2e-3)
        shift = np.concatenate([chosen, rejected]).mean()
        columns.append((np.array(alone.score(texts)) - shift) / temperature(margins.tolist()))
    for (value, spread), rewards in zip(loaded.score_with_spread(texts), zip(*columns, strict=True), strict=True):
        mean, deviation = fmean(rewards), stdev(rewards)
        expected = {"mean": mean, "lower": mean - 0.7 * deviation, "min": min(rewards)}[combine]
        assert value == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert spread == pytest.approx(deviation, rel=1e-4, abs=1e-6)
    assert loaded.score(texts) == [value for value, _ in loaded.score_with_spread(texts)]
    figures = open_artifact(out).stats["members"]
    assert all(x["log_loss_calibrated"] <= x["log_loss"] + 1e-9 for x in figures)
    again = build_ensemble(config, tmp_path / "again")
    assert (out / "ensemble.json").read_text() == (again / "ensemble.json").read_text()


def test_ppo_takes_an_ensemble_as_its_reward(members: list[Path], tmp_path: Path) -> None:
    out = build_ensemble(EnsembleConfig(members=[str(m) for m in members], combine="min"), tmp_path / "ensemble")
    (source,) = load_sources(PpoReward(model=str(out), batch_size=3), torch.device("cpu"))
    rows = pairs(7, seed=3)
    prompts = [Prompt(messages=row["prompt"], tokens=[], columns={}) for row in rows]
    scores = source.score(prompts, [row["chosen"][0]["content"] for row in rows])
    alone = [load_reward_model(member).score(conversations()) for member in members]
    assert scores == pytest.approx([min(values) for values in zip(*alone, strict=True)], rel=1e-4, abs=1e-5)


def test_a_perfect_member_has_a_bounded_temperature() -> None:
    assert temperature([0.5, 1.0, 2.0]) == pytest.approx(math.exp(-5), rel=0.05)


def test_members_that_moved_or_changed(members: list[Path], tmp_path: Path) -> None:
    own = [Path(shutil.copytree(member, tmp_path / member.name)) for member in members[:2]]
    out = build_ensemble(EnsembleConfig(members=[str(m) for m in own]), tmp_path / "deep" / "ensemble")
    assert [m["path"] for m in json.loads((out / "ensemble.json").read_text())["members"]] == [
        "../../reward_0", "../../reward_1",
    ]  # fmt: skip
    assert len(load_reward_model(out).score(conversations())) == 7
    shutil.rmtree(own[1])
    with pytest.raises(InputError, match=r"member .*reward_1' is gone"):
        load_reward_model(out)
    shutil.copytree(members[2], own[1])
    with pytest.raises(InputError, match=r"has other weights"):
        load_reward_model(out)
    with pytest.raises(ValidationError, match="twice"):
        EnsembleConfig(members=["a", "a"])


def test_what_an_ensemble_does_elsewhere(members: list[Path], checkpoint: Path, tmp_path: Path) -> None:
    """It scores answers in evaluation; a critic of PPO cannot start from it."""
    ensemble = build_ensemble(EnsembleConfig(members=[str(m) for m in members]), tmp_path / "ensemble")
    pair = {"prompt": "what is 1 plus 1", "chosen": "2", "rejected": "3"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    settings: dict[str, Any] = {"model": str(ensemble), "device": "cpu"}
    config = EvaluationConfig(**settings, reward_accuracy={"pairs": str(tmp_path / "pairs.jsonl")})
    scores = json.loads((evaluate(config, tmp_path / "scores") / "scores.json").read_text())
    assert {score["task"] for score in scores["scores"]} == {"reward_accuracy"}
    with pytest.raises(ConfigError, match="is a reward model: tasks need a language model"):
        evaluate(EvaluationConfig(**settings, tasks={"run": [{"task": "any"}]}), tmp_path / "refused")

    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": "what is 1 plus 1"}) + "\n")
    ppo = PpoConfig(
        model=str(checkpoint), prompts=str(prompts), reward=PpoReward(model=str(ensemble)), critic={"init": "reward"}
    )
    with pytest.raises(InputError, match="is a reward-ensemble, which has no single number for a token to start from"):
        load_networks(ppo, torch.device("cpu"))
    models = load_networks(
        ppo.model_copy(update={"critic": ppo.critic.model_copy(update={"init": "auto"})}), torch.device("cpu")
    )
    trunk = models.critic.model.base_model.state_dict()
    start = load_model(checkpoint, device="cpu").model.base_model.state_dict()
    assert all(torch.equal(trunk[name], start[name]) for name in start)
