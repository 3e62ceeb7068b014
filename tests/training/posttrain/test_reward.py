"""The reward model's loss against the Bradley-Terry formula, and the token at which rewards are read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from millbase.artifacts import open_artifact
from millbase.metrics import read_metrics
from millbase.seeds import seed_everything
from training.load import load_reward_model
from training.posttrain.model import load_start
from training.posttrain.reward import RewardConfig, train_reward
from training.posttrain.stages.reward import with_scalar_head

from .conftest import assistant, pairs, small_run, user


def config(checkpoint: Path, data: Path, **changes: Any) -> RewardConfig:
    return RewardConfig(**small_run(checkpoint, data, **changes))


def rewards_by_hand(model: Any, tokenizer: Any, rows: list[dict[str, Any]], side: str) -> torch.Tensor:
    """The score head on the last hidden state of each unpadded conversation."""
    rewards = []
    for row in rows:
        text = tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False)
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            hidden = model.model(input_ids=ids).last_hidden_state[0, -1]
            rewards.append((model.score.weight @ hidden)[0])
    return torch.stack(rewards)


@pytest.mark.parametrize("center", [0.0, 0.1])
def test_loss_is_bradley_terry(
    checkpoint: Path, preferences: Path, tmp_path: Path, write_rows: Any, center: float
) -> None:
    heldout = pairs(13, seed=9)
    settings = config(
        checkpoint,
        preferences,
        eval_data=str(write_rows(tmp_path / "heldout.jsonl", heldout)),
        max_steps=1,
        micro_batch_size=4,
        center_rewards=center,
        seed=5,
    )
    out = train_reward(settings, tmp_path / "reward")
    seed_everything(5)
    start = with_scalar_head(load_start(settings))
    trained = AutoModelForSequenceClassification.from_pretrained(out / "hf", num_labels=1)
    lines = [line for line in read_metrics(out / "metrics.jsonl") if "val_loss" in line]
    assert [line["step"] for line in lines] == [0, 1]
    for model, line in zip((start.model.eval(), trained.eval()), lines, strict=True):
        chosen, rejected = (rewards_by_hand(model, start.tokenizer, heldout, side) for side in ("chosen", "rejected"))
        loss = -F.logsigmoid(chosen - rejected) + center * (chosen + rejected) ** 2
        assert line["val_loss"] == pytest.approx(float(loss.mean()), rel=1e-4)
        # 13 pairs in batches of 4: the mean is over pairs, not over batches
        assert line["val_accuracy"] == pytest.approx(float((chosen > rejected).float().mean()))
        assert line["val_margin"] == pytest.approx(float((chosen - rejected).mean()), rel=1e-3, abs=1e-5)


def test_margins_are_asked_for_when_wanted(checkpoint: Path, tmp_path: Path, write_rows: Any) -> None:
    rows = [{**row, "margin": 0.5 * index} for index, row in enumerate(pairs(8))]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    settings = config(checkpoint, data, max_steps=1, center_rewards=0, use_margin=True)
    out = train_reward(settings, tmp_path / "reward")
    seed_everything(settings.seed)
    start = with_scalar_head(load_start(settings))
    chosen, rejected = (
        rewards_by_hand(start.model.eval(), start.tokenizer, rows, side) for side in ("chosen", "rejected")
    )
    margins = torch.tensor([row["margin"] for row in rows])
    expected = -F.logsigmoid(chosen - rejected - margins).mean()
    assert read_metrics(out / "metrics.jsonl")[0]["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_micro_batches_do_not_change_training(checkpoint: Path, preferences: Path, tmp_path: Path) -> None:
    whole = train_reward(config(checkpoint, preferences), tmp_path / "whole")
    cut = train_reward(config(checkpoint, preferences, micro_batch_size=2), tmp_path / "cut")
    for left, right in zip(read_metrics(whole / "metrics.jsonl"), read_metrics(cut / "metrics.jsonl"), strict=True):
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-4)
        assert right["grad_norm"] == pytest.approx(left["grad_norm"], rel=1e-3)


def test_a_rule_is_learned_and_scores_do_not_depend_on_padding(
    checkpoint: Path, tmp_path: Path, write_rows: Any
) -> None:
    def politeness(count: int, seed: int) -> list[dict[str, Any]]:
        generator = random.Random(seed)
        rows = []
        for _ in range(count):
            plain = " ".join(generator.choices(["the", "sum", "of", "plus", "and"], k=generator.randrange(1, 12)))
            polite = " ".join(generator.choices(["the", "sum", "of", "plus", "and"], k=generator.randrange(1, 12)))
            polite = f"please {polite}"
            rows.append({"prompt": user(f"what is {seed}"), "chosen": assistant(polite), "rejected": assistant(plain)})
        return rows

    heldout = politeness(50, seed=2)
    settings = config(
        checkpoint,
        write_rows(tmp_path / "pairs.jsonl", politeness(300, seed=1)),
        eval_data=str(write_rows(tmp_path / "heldout.jsonl", heldout)),
        max_steps=40,
        batch_size=16,
        learning_rate=3e-3,
        log_every=10,
        save_every=10,
    )
    out = train_reward(settings, tmp_path / "reward")
    assert open_artifact(out, kind="reward-model").stats["final"]["val_accuracy"] >= 0.9
    loaded = load_reward_model(out)
    by_hand = rewards_by_hand(loaded.model, AutoTokenizer.from_pretrained(out / "hf"), heldout, "chosen")
    batched = loaded.score([row["prompt"] + row["chosen"] for row in heldout], batch_size=16)
    assert batched == pytest.approx(by_hand.tolist(), rel=1e-4, abs=1e-5)
    assert by_hand.std() > 0.01


def test_a_cut_answer_is_scored_at_its_last_kept_token(checkpoint: Path, tmp_path: Path, write_rows: Any) -> None:
    long = {
        "prompt": user("what is 1"),
        "chosen": assistant("the sum of " * 40),
        "rejected": assistant("please answer " * 40),
    }
    settings = config(
        checkpoint,
        write_rows(tmp_path / "pairs.jsonl", [long, *pairs(7)]),
        max_steps=1,
        max_length=64,
        center_rewards=0,
    )
    out = train_reward(settings, tmp_path / "reward")
    assert open_artifact(out).stats["data"]["encoded"]["truncated"] == 2
    seed_everything(settings.seed)
    start = with_scalar_head(load_start(settings))
    losses = []
    for row in [long, *pairs(7)]:
        rewards = []
        for side in ("chosen", "rejected"):
            text = start.tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False)
            ids = start.tokenizer(text, add_special_tokens=False)["input_ids"][:64]
            with torch.no_grad():
                hidden = start.model.eval().model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
                rewards.append((start.model.score.weight @ hidden)[0])
        losses.append(-F.logsigmoid(rewards[0] - rewards[1]))
    expected = float(torch.stack(losses).mean())
    assert read_metrics(out / "metrics.jsonl")[0]["loss"] == pytest.approx(expected, rel=1e-4)
