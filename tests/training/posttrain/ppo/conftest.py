"""A tiny policy that often ends its turn, a reward model, prompts, and a trainer made without an artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from millbase.config import load_config
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import single_process
from training.posttrain.ppo.trainer import PpoTrainer

REWARDS = """
def short(completions, **columns):
    return [-len(c[0]["content"]) / 100 for c in completions]

def digits(completions, answer, **columns):
    return [float(a in c[0]["content"]) for c, a in zip(completions, answer)]

def letters(completions):
    return [sum(x in "aeiou" for x in c[0]["content"]) / 10 for c in completions]

def broken(completions, **columns):
    return [1.0]

def infinite(completions, **columns):
    return [float("inf") for _ in completions]
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
def reward_folder(policy_folder: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(policy_folder, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    with torch.no_grad():
        model.score.weight.normal_(0, 0.2)
    folder = tmp_path_factory.mktemp("reward")
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
def make_config(policy_folder: Path, prompts_file: Path, rewards_file: Path) -> Callable[..., PpoConfig]:
    """A small configuration; overrides are dotted keys."""

    def make(*overrides: str) -> PpoConfig:
        base = {
            "model": str(policy_folder),
            "prompts": str(prompts_file),
            "reward": {"functions": [f"{rewards_file}:letters"]},
            "policy": {"learning_rate": 1e-3, "warmup_updates": 0},
            "critic": {"learning_rate": 1e-3, "warmup_updates": 0},
            "updates": 2,
            "rollout_size": 16,
            "epochs": 1,
            "minibatches": 1,
            "micro_batch_size": 16,
            "max_new_tokens": 12,
            "schedule": "constant",
            "threads": 1,
            "device": "cpu",
        }
        return load_config(PpoConfig, base, overrides)

    return make


@pytest.fixture
def make_trainer(make_config: Callable[..., PpoConfig], tmp_path: Path) -> Callable[..., PpoTrainer]:
    """A trainer in this process, with folders of its own."""
    count = 0

    def make(*overrides: str) -> PpoTrainer:
        nonlocal count
        count += 1
        work, scratch = tmp_path / f"work{count}", tmp_path / f"scratch{count}"
        work.mkdir()
        scratch.mkdir()
        return PpoTrainer(make_config(*overrides), work, scratch, single_process("cpu"))

    return make


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Any], dict[str, torch.Tensor]]:
    return weights
