"""Resume inside an update: after any optimizer step, to the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from millbase.artifacts import open_artifact
from training.posttrain.ppo import PpoConfig, train_ppo
from training.posttrain.ppo.update import Updater

MakeConfig = Callable[..., PpoConfig]
SETTINGS = (
    *("updates=2", "epochs=2", "minibatches=2", "schedule=linear", "kl.target=0.05", "kl.limit=50"),
    *("reward.normalize=running", "critic.pretrain_updates=1", "sample_every=1", "save_every=1", "save_every_steps=1"),
)
STEPS = 12
"""Three rollouts of four optimizer steps."""


class Killed(BaseException):
    """Stands in for a kill in the middle of a run."""


def die_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    original, taken = Updater._accumulate, [0]

    def dying(self: Updater, *rest: Any) -> Any:
        if taken[0] == steps:
            raise Killed
        taken[0] += 1
        return original(self, *rest)

    patch.setattr(Updater, "_accumulate", dying)


def same(first: Path, second: Path) -> None:
    for folder in ("hf", "critic"):
        a, b = (load_file(out / folder / "model.safetensors") for out in (first, second))
        assert all(torch.equal(tensor, b[name]) for name, tensor in a.items()), folder
    assert (first / "samples.jsonl").read_bytes() == (second / "samples.jsonl").read_bytes()
    assert open_artifact(first).digest == open_artifact(second).digest


@pytest.fixture(scope="module")
def whole(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_ppo(make_config(*SETTINGS), tmp_path_factory.mktemp("whole") / "ppo")


@pytest.mark.parametrize("steps", [3, 5, 10])
def test_resume_inside_a_rollout_is_bit_identical(
    make_config: MakeConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    config = make_config(*SETTINGS)
    with monkeypatch.context() as patch:
        die_after(patch, steps)
        with pytest.raises(Killed):
            train_ppo(config, tmp_path / "ppo")
    taken: list[int] = []
    original = Updater._accumulate

    def counting(self: Updater, *rest: Any) -> Any:
        taken.append(1)
        return original(self, *rest)

    monkeypatch.setattr(Updater, "_accumulate", counting)
    again = train_ppo(config, tmp_path / "ppo")
    assert len(taken) == STEPS - steps, "no optimizer step is taken twice, and none is left out"
    same(whole, again)


def test_states_inside_an_update_change_nothing(make_config: MakeConfig, whole: Path, tmp_path: Path) -> None:
    settings = [setting for setting in SETTINGS if not setting.startswith("save_every_steps")]
    plain = train_ppo(make_config(*settings), tmp_path / "ppo")
    a, b = (load_file(out / "hf" / "model.safetensors") for out in (whole, plain))
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_adapters_resume_inside_a_rollout(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(*SETTINGS, 'lora={"rank": 4}')
    whole = train_ppo(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        die_after(patch, 6)
        with pytest.raises(Killed):
            train_ppo(config, tmp_path / "ppo")
    same(whole, train_ppo(config, tmp_path / "ppo"))
