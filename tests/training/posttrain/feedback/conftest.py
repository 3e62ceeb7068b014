"""A tiny policy that often ends its turn, prompts with answers, and reward functions in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

REWARDS = """
def vowels(completions, **columns):
    return [sum(x in "aeiou" for x in c[0]["content"]) / 10 for c in completions]

def shorter(completions):
    return [-len(c[0]["content"]) / 100 for c in completions]

def picky(completions, **columns):
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
        {"prompt": [{"role": "user", "content": f"what is {a} plus {b}"}], "answer": str(a + b)}
        for a in range(4)
        for b in range(3)
    ]
    rows.insert(5, rows[0])  # the same prompt again
    return write_rows(tmp_path_factory.mktemp("prompts") / "prompts.jsonl", rows)


@pytest.fixture(scope="session")
def rewards_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("functions") / "rewards.py"
    path.write_text(REWARDS)
    return path


@pytest.fixture(scope="session")
def sampling(policy_folder: Path, prompts_file: Path) -> dict[str, Any]:
    """Fields of every stage that samples."""
    return {
        "model": str(policy_folder),
        "prompts": str(prompts_file),
        "samples": 4,
        "max_new_tokens": 24,
        "piece": 5,
        "threads": 1,
        "device": "cpu",
    }
