"""Rewards that fail: the policy stated in the configuration, every case kept, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from millbase.errors import StageError
from training.posttrain.ppo import PpoConfig, train_ppo
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.ppo.rewards import FunctionReward, score
from training.posttrain.ppo.sampling import Completion
from training.posttrain.ppo.scoring import score_all
from training.posttrain.ppo.trainer import PpoTrainer

MakeTrainer = Callable[..., PpoTrainer]
MakeConfig = Callable[..., PpoConfig]

FAILING = """
def raises(completions, prompts, **columns):
    if any("1 plus" in p[0]["content"] for p in prompts):
        raise KeyError("no price for one")
    return [len(c[0]["content"]) / 10 for c in completions]

def nan(completions, prompts, **columns):
    return [float("nan") if "1 plus" in p[0]["content"] else 0.5 for p in prompts]

def always(completions):
    raise RuntimeError("the judge is down")
"""


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    path = tmp_path / "failing.py"
    path.write_text(FAILING)
    return path


@pytest.mark.parametrize(("name", "message"), [("raises", "no price for one"), ("nan", "returned nan")])
def test_stop_names_the_function(
    make_config: MakeConfig, failing: Path, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(StageError, match=f"'{name}' .*{message}"):
        train_ppo(make_config(f"reward.functions=['{failing}:{name}']"), tmp_path / "ppo")
    assert not (tmp_path / "ppo").exists()


@pytest.mark.parametrize("name", ["raises", "nan"])
@pytest.mark.parametrize("on_error", ["zero", "skip"])
def test_failures_are_kept_and_the_run_goes_on(
    make_config: MakeConfig, failing: Path, tmp_path: Path, name: str, on_error: str
) -> None:
    config = make_config(
        f"reward.functions=['{failing}:{name}']",
        *(f"reward.on_error={on_error}", "reward.max_error_share=0.5", "minibatches=2", "micro_batch_size=2"),
    )
    out = train_ppo(config, tmp_path / "ppo")
    lines = [json.loads(line) for line in (out / "reward_errors.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {1, 2}
    assert all("1 plus" in line["prompt"][0]["content"] and line["done"] == on_error for line in lines)
    assert all(line["source"] == name and line["reason"] and "completion" in line for line in lines)
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["reward_errors"] for line in metrics) == len(lines)


def test_skipped_completions_have_no_part_in_the_update(make_trainer: MakeTrainer, failing: Path) -> None:
    settings = ("reward.on_error=skip", "reward.max_error_share=0.5", "reward.normalize=batch", "reward.clip=null")
    trainer = make_trainer(f"reward.functions=['{failing}:nan']", "epochs=2", "micro_batch_size=1", *settings)
    rollout = trainer.maker.make(0, 0.1)
    out = [i for i, kept in enumerate(rollout.kept) if not kept]
    assert 0 < len(out) < 16
    assert all("1 plus" in rollout.prompts[i].messages[0]["content"] for i in out)
    assert (rollout.mask.sum(1)[out] == 0).all() and (rollout.advantages[out] == 0).all()
    result = trainer.updater.update(rollout, 0)
    tokens = sum(len(rollout.completions[i].tokens) for i in rollout.rows)
    assert [step.policy_tokens for step in result.steps] == [tokens, tokens]
    assert torch.isfinite(rollout.returns).all() and result.policy_grad_norm > 0


def test_too_many_failures_stop_the_run(make_config: MakeConfig, failing: Path, tmp_path: Path) -> None:
    config = make_config(f"reward.functions=['{failing}:always']", "reward.on_error=skip")
    with pytest.raises(StageError, match=r"16 of 16 completions, more than reward\.max_error_share.*the judge is down"):
        train_ppo(config, tmp_path / "ppo")
    config = make_config(f"reward.functions=['{failing}:always']", "reward.on_error=skip", "reward.max_error_share=1")
    with pytest.raises(StageError, match="no completion of a rollout could be used"):
        train_ppo(config, tmp_path / "ppo")


def test_one_failure_costs_no_other_completion_its_score() -> None:
    def picky(completions: list[list[dict[str, str]]]) -> list[float]:
        return [1 / len(c[0]["content"]) for c in completions]

    prompts = [Prompt([{"role": "user", "content": "q"}], [1], {})] * 3
    scored = score(FunctionReward("picky", picky, 1.0), prompts, ["ab", "", "abcd"], "zero")
    assert scored.values == [0.5, 0.0, 0.25]
    assert list(scored.errors) == [1] and "division by zero" in scored.errors[1]


def test_empty_completions(make_trainer: MakeTrainer) -> None:
    """A turn that ends at once is one token and scored as empty text; no token at all takes a completion out."""
    seen: list[str] = []

    def reward(completions: list[list[dict[str, str]]]) -> list[float]:
        seen.extend(c[0]["content"] for c in completions)
        return [float(len(c[0]["content"])) for c in completions]

    trainer = make_trainer("epochs=2")
    trainer.maker.sources = [FunctionReward("reward", reward, 1.0)]
    eos = trainer.networks.tokenizer.eos_token_id
    draw = trainer.maker.sampler.draw

    def emptied(*args: object) -> list[Completion]:
        drawn = draw(*args)  # type: ignore[arg-type]
        return [Completion([eos], [-1.0], True), Completion([], [], False), *drawn[2:]]

    trainer.maker.sampler.draw = emptied  # type: ignore[method-assign]
    rollout = trainer.maker.make(0, 0.1)
    assert seen[:2] == ["", ""]
    lengths = rollout.mask.sum(1)
    assert sorted(lengths.tolist())[:2] == [0, 1] and rollout.kept.count(False) == 1
    result = trainer.updater.update(rollout, 0)
    assert result.policy_steps == 2 and all(step.policy_tokens == int(lengths.sum()) for step in result.steps)


def test_texts_are_decoded_once_for_all_sources() -> None:
    completions = [Completion([1, 2], [-1.0, -1.0], True)]
    source = FunctionReward("one", lambda completions: [2.0], 1.0)
    judge = FunctionReward("judge", lambda completions: [7.0], 1.0)
    prompts = [Prompt([{"role": "user", "content": "q"}], [1], {})]
    (item,) = score_all(prompts, completions, lambda c: "text", [source, source], [judge], "stop")
    assert item.text == "text" and item.scores == [2.0, 2.0] and item.judged == [7.0] and item.errors == {}
