"""Small token shards in the documented layout, a tiny configuration, and a way to run it, for the pretraining tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millbase.artifacts import create_artifact
from millbase.config import Config

WORDS = [
    "the",
    "mill",
    "grinds",
    "grain",
    "into",
    "flour",
    "and",
    "water",
    "turns",
    "its",
    "wheel",
    "while",
    "bread",
    "is",
    "baked",
    "by",
    "the",
    "town",
    "at",
    "dawn",
]
END = "<|endoftext|>"
SPECIALS = [END, "<|im_start|>", "<|im_end|>", "<|pad|>"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"


class ToyTokens(Config):
    """Configuration of the toy artifact."""

    documents: int = 60
    heldout: int = 12
    seed: int = 1


def write_tokenizer(folder: Path, extra: int = 0) -> int:
    """A word-level tokenizer; returns its size."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIALS, "[UNK]", *sorted(set(WORDS)), *(f"extra{i}" for i in range(extra))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        unk_token="[UNK]",
        additional_special_tokens=[END, "<|im_start|>"],
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return len(words)


def documents(count: int, vocab: int, seed: int) -> list[list[int]]:
    """Random documents of 5 to 60 tokens that follow a learnable pattern and end with the end token (0)."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        start, stride = rng.integers(5, vocab), rng.integers(1, 3)
        length = int(rng.integers(5, 60))
        out.append([int(5 + (start + i * stride) % (vocab - 5)) for i in range(length)] + [0])
    return out


def write_shard(file: Path, rows: list[list[int]], first: int, batch_size: int = 7) -> None:
    """One Arrow IPC file of several record batches."""
    file.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [("id", pa.string()), ("source", pa.string()), ("bytes", pa.int64()), ("tokens", pa.large_list(pa.uint16()))]
    )
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for at in range(0, len(rows), batch_size):
            part = rows[at : at + batch_size]
            columns = [
                [f"doc-{first + at + i}" for i in range(len(part))],
                ["toy"] * len(part),
                [5 * (len(row) - 1) for row in part],
                part,
            ]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def make_tokens(out: Path, config: ToyTokens | None = None, extra_vocab: int = 0) -> Path:
    """A `tokens` artifact as the tokens stage writes it."""
    config = config or ToyTokens()
    with create_artifact(out, kind="tokens", config=config, seed=config.seed) as art:
        vocab = write_tokenizer(art.path / "tokenizer", extra_vocab)
        train = documents(config.documents, vocab, config.seed)
        half = len(train) // 2
        write_shard(art.path / "train" / "00000.arrow", train[:half], 0)
        write_shard(art.path / "train" / "00001.arrow", train[half:], half)
        heldout = documents(config.heldout, vocab, config.seed + 1)
        write_shard(art.path / "heldout" / "00000.arrow", heldout, 10_000)
        counts = np.bincount([t for row in train for t in row], minlength=vocab).tolist()
        (art.path / "unigram.json").write_text(json.dumps({"counts": counts, "tokens": sum(counts)}))
        art.stats.update(
            tokens=sum(counts),
            documents=len(train),
            vocab_size=vocab,
            dtype="uint16",
            tokenizer_digest="sha256:of-the-tokenizer-artifact",
        )
    return out


@pytest.fixture(scope="session")
def toy_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokens artifact of 60 training documents."""
    return make_tokens(tmp_path_factory.mktemp("toy") / "tokens")


@pytest.fixture(scope="session")
def new_tokens() -> Callable[..., Path]:
    """Makes another tokens artifact: (path, ToyTokens, extra_vocab)."""
    return make_tokens


@pytest.fixture(scope="session")
def toy_tokens_config() -> type[ToyTokens]:
    """The configuration class of the toy artifact."""
    return ToyTokens


def tiny_config(tokens: Path, **overrides: Any) -> dict[str, Any]:
    """A model of 20 thousand weights, 8 steps; keyword arguments replace whole top-level fields."""
    values: dict[str, Any] = {
        "data": {"tokens": str(tokens), "sequence_length": 32},
        "model": {"layers": 2, "hidden_size": 32, "heads": 4, "kv_heads": 2, "ffn_hidden_size": 64},
        "steps": 8,
        "global_batch_size": 8,
        "micro_batch_size": 2,
        "log_every": 1,
        "schedule": {"warmup_steps": 2},
        "evaluation": {"every_steps": 4, "tokens": 200},
        "checkpoint": {"every_steps": 4},
        "seed": 3,
    }
    return values | overrides


@pytest.fixture(scope="session")
def tiny(toy_tokens: Path) -> Callable[..., dict[str, Any]]:
    """`tiny(steps=3)`: values of a tiny configuration on the toy tokens."""

    def make(tokens: Path | None = None, **overrides: Any) -> dict[str, Any]:
        return tiny_config(tokens or toy_tokens, **overrides)

    return make
