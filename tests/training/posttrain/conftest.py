"""A tiny byte-level tokenizer with a chat template, a tiny Llama saved with it, and small files of chat data."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}{{- '<|im_start|>assistant\n' }}"
    "{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}{{- '\n' }}"
    "{%- else %}{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{%- endif %}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    words = ["the", "sum", "of", "and", "is", "plus", "what", "answer", "user", "assistant", "please", "big", "small"]
    generator = random.Random(0)
    corpus = [" ".join(generator.choices(words, k=8)) for _ in range(200)]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|endoftext|>", "<|im_start|>"],
    )
    wrapped.chat_template = TEMPLATE
    folder = tmp_path_factory.mktemp("tokenizer")
    wrapped.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def build_model(tokenizer: Any, seed: int = 0, hidden: int = 32, layers: int = 2, context: int = 128) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=context,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def save_model(folder: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random two-layer Llama and the tokenizer."""
    # wide initial weights: differences between rows are then far above rounding
    model = build_model(tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
    return save_model(tmp_path_factory.mktemp("start"), model, tokenizer)


@pytest.fixture(scope="session")
def other(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same kind with other weights: a reference or a teacher."""
    model = build_model(tokenizer, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.ndim > 1 else 1.0)
    return save_model(tmp_path_factory.mktemp("other"), model, tokenizer)


@pytest.fixture(scope="session")
def write_rows() -> Callable[[Path, list[dict[str, Any]]], Path]:
    def write(path: Path, rows: list[dict[str, Any]]) -> Path:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def sums(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Conversations about sums of two digits, of different lengths."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        a, b = generator.randrange(10), generator.randrange(10)
        close = generator.choice(["", " is the answer", " is the sum of the two"])
        rows.append({"messages": user(f"what is {a} plus {b}") + assistant(f"{a + b}{close}")})
    return rows


def pairs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Right sums over wrong ones."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        a, b = generator.randrange(10), generator.randrange(10)
        wrong = a + b + generator.randrange(1, 5)
        rows.append(
            {
                "prompt": user(f"what is {a} plus {b}"),
                "chosen": assistant(f"the answer is {a + b}"),
                "rejected": assistant(f"{wrong}" + " please" * generator.randrange(3)),
            }
        )
    return rows


@pytest.fixture(scope="session")
def instructions(tmp_path_factory: pytest.TempPathFactory, write_rows: Any) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "instructions.jsonl", sums(40))


@pytest.fixture(scope="session")
def preferences(tmp_path_factory: pytest.TempPathFactory, write_rows: Any) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "preferences.jsonl", pairs(40))


def small_run(checkpoint: Path, data: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a run of a few steps that every stage understands, with `changes`."""
    defaults: dict[str, Any] = {
        "model": str(checkpoint),
        "data": str(data),
        "max_steps": 4,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "log_every": 1,
        "save_every": 2,
        "threads": 1,
    }
    return {**defaults, **changes}
