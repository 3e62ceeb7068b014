"""A small model learns sums by SFT, a reward model learns which close is liked, and DPO brings that close about."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from millbase.artifacts import open_artifact
from training.load import load_model, load_reward_model
from training.posttrain.dpo import DpoConfig, train_dpo
from training.posttrain.reward import RewardConfig, train_reward
from training.posttrain.sft import SftConfig, train_sft

from .conftest import assistant, build_model, save_model, user

ASKS = ["what is {a} plus {b}", "the sum of {a} and {b} please", "answer {a} plus {b}"]
CLOSES = ["", " please", " and small"]
LIKED = " please"


def questions() -> list[tuple[str, str]]:
    """(question, answer) for every pair of digits and wording, shuffled."""
    found = [(ask.format(a=a, b=b), str(a + b)) for a in range(10) for b in range(10) for ask in ASKS]
    random.Random(0).shuffle(found)
    return found


@torch.no_grad()
def answers(path: Path, asked: list[tuple[str, str]]) -> list[str]:
    loaded = load_model(path)
    tokenizer: Any = loaded.tokenizer
    prompts = [tokenizer.apply_chat_template(user(q), tokenize=False, add_generation_prompt=True) for q, _ in asked]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    generated = loaded.model.generate(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=12, do_sample=False
    )
    return list(tokenizer.batch_decode(generated[:, batch.input_ids.shape[1] :], skip_special_tokens=True))


def accuracy(replies: list[str], asked: list[tuple[str, str]]) -> float:
    return sum(reply.split(" ")[0] == right for reply, (_, right) in zip(replies, asked, strict=True)) / len(asked)


def liked(replies: list[str]) -> float:
    return sum(reply.endswith(LIKED) for reply in replies) / len(replies)


@pytest.mark.slow
def test_sft_then_reward_and_dpo(tokenizer: Any, tmp_path: Path, write_rows: Any) -> None:
    asked = questions()
    train, heldout = asked[:240], asked[240:]
    generator = random.Random(1)
    conversations = [
        {"messages": user(q) + assistant(a + close)} for q, a in train for close in generator.sample(CLOSES, 3)
    ]
    preferences = [
        {"prompt": user(q), "chosen": assistant(a + LIKED), "rejected": assistant(a + close)}
        for q, a in asked
        for close in CLOSES
        if close != LIKED
    ]
    generator.shuffle(preferences)
    start = save_model(tmp_path / "start", build_model(tokenizer, hidden=128, layers=3), tokenizer)
    common: dict[str, Any] = {"batch_size": 32, "log_every": 20, "save_every": 200, "threads": 1}

    sft = train_sft(
        SftConfig(
            model=str(start),
            data=str(write_rows(tmp_path / "sft.jsonl", conversations)),
            learning_rate=2e-3,
            max_steps=300,
            **common,
        ),
        tmp_path / "sft",
    )
    before = answers(sft, heldout)
    assert accuracy(before, heldout) >= 0.9
    assert liked(before) < 0.9

    pairs = write_rows(tmp_path / "pairs.jsonl", preferences[:400])
    unseen = write_rows(tmp_path / "unseen.jsonl", preferences[400:])
    settings: dict[str, Any] = {**common, "model": str(sft), "data": str(pairs), "eval_data": str(unseen)}
    reward = train_reward(RewardConfig(learning_rate=3e-4, max_steps=40, **settings), tmp_path / "reward")
    assert open_artifact(reward).stats["final"]["val_accuracy"] >= 0.95
    scorer = load_reward_model(reward)
    polite, plain = (
        scorer.score([user(q) + assistant(a + close) for q, a in heldout]) for close in (LIKED, " and small")
    )
    assert sum(x > y for x, y in zip(polite, plain, strict=True)) / len(heldout) >= 0.95

    dpo = train_dpo(DpoConfig(learning_rate=3e-4, sft_weight=0.2, max_steps=40, **settings), tmp_path / "dpo")
    after = answers(dpo, heldout)
    assert liked(after) >= 0.95
    assert accuracy(after, heldout) >= accuracy(before, heldout) - 0.03
