"""A tiny policy that often ends its turn, prompts with answers, and runs made without an artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from millbase.config import load_config
from training.posttrain.group.config import GroupConfig
from training.posttrain.group.trainer import GroupTrainer
from training.posttrain.ppo.distributed import single_process

REWARDS = """
def letters(completions):
    return [sum(x in "aeiou" for x in c[0]["content"]) / 10 for c in completions]

def vowel(completions):
    return [float(any(x in "aeiou" for x in c[0]["content"])) for c in completions]

def constant(completions):
    return [0.3 for _ in completions]

def easy(completions, answer):
    # every answer to an even question is right; for an odd one it depends
    return [1.0 if int(a) % 2 == 0 else float(len(c[0]["content"]) > 4) for c, a in zip(completions, answer)]

def picky(completions):
    if len(completions) > 1 or len(completions[0][0]["content"]) % 5 == 0:
        raise ValueError("a text of odd length")
    return [float(len(completions[0][0]["content"]))]

def broken(completions):
    return [float("nan") if "e" in c[0]["content"] else 1.0 for c in completions]
"""


@pytest.fixture(scope="session")
def policy_folder(checkpoint: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        # the end-of-turn token is likely in some contexts and not in others
        model.get_input_embeddings().weight[tokenizer.eos_token_id] *= 6
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    folder = tmp_path_factory.mktemp("policy")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory: pytest.TempPathFactory, write_rows: Any) -> Path:
    rows = [
        {"prompt": [{"role": "user", "content": f"what is {a} plus {b}" + " please" * (a % 3)}], "answer": str(a + b)}
        for a in range(6)
        for b in range(5)
    ]
    return write_rows(tmp_path_factory.mktemp("prompts") / "prompts.jsonl", rows)


@pytest.fixture(scope="session")
def rewards_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("functions") / "rewards.py"
    path.write_text(REWARDS)
    return path


@pytest.fixture(scope="session")
def make_config(policy_folder: Path, prompts_file: Path, rewards_file: Path) -> Callable[..., GroupConfig]:
    """A small configuration; overrides are dotted keys, `reward=NAME` takes a function of the file above."""

    def make(*overrides: str, reward: str = "letters") -> GroupConfig:
        base = {
            "model": str(policy_folder),
            "prompts": str(prompts_file),
            "reward": {"functions": [f"{rewards_file}:{reward}"]},
            "learning_rate": 1e-3,
            "warmup_updates": 0,
            "updates": 2,
            "rollout_size": 16,
            "samples_per_prompt": 4,
            "micro_batch_size": 16,
            "max_new_tokens": 12,
            "schedule": "constant",
            "threads": 1,
            "device": "cpu",
        }
        return load_config(GroupConfig, base, overrides)

    return make


@pytest.fixture
def make_trainer(make_config: Callable[..., GroupConfig], tmp_path: Path) -> Callable[..., GroupTrainer]:
    """A trainer in this process, with folders of its own."""
    count = 0

    def make(*overrides: str, reward: str = "letters") -> GroupTrainer:
        nonlocal count
        count += 1
        work, scratch = tmp_path / f"work{count}", tmp_path / f"scratch{count}"
        work.mkdir()
        scratch.mkdir()
        return GroupTrainer(make_config(*overrides, reward=reward), work, scratch, single_process("cpu"))

    return make
