"""Supervised fine-tuning against a loss computed by hand, and what does not change it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from millbase.artifacts import open_artifact
from millbase.errors import ConfigError, InputError
from millbase.metrics import read_metrics
from training.load import load_model, tokenizer_digest
from training.posttrain.config import LoraConfig
from training.posttrain.sft import SftConfig, train_sft

from .conftest import build_model, save_model, small_run, sums


def config(checkpoint: Path, data: Path, **changes: Any) -> SftConfig:
    return SftConfig(**small_run(checkpoint, data, **changes))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(out / "hf", dtype=torch.float32).state_dict())


def largest_difference(first: Path, second: Path) -> float:
    left, right = weights(first), weights(second)
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def loss_by_hand(checkpoint: Path, rows: list[dict[str, Any]]) -> float:
    """Mean cross-entropy of the assistant's tokens, one unpadded row at a time in double precision.

    Assistant tokens are found in the ids themselves: after each `<|im_start|>assistant\n`, up to `<|im_end|>`.
    """
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    header = tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    losses = []
    for row in rows:
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
        inside = False
        for position in range(1, len(ids)):
            inside = inside or ids[position - len(header) : position] == header
            if inside:
                losses.append(F.cross_entropy(logits[position - 1], torch.tensor(ids[position])))
                inside = ids[position] != end
    return float(torch.stack(losses).mean())


def test_loss_is_the_assistants_cross_entropy(
    checkpoint: Path, instructions: Path, tmp_path: Path, write_rows: Any
) -> None:
    heldout = sums(13, seed=9)
    out = train_sft(
        config(
            checkpoint,
            instructions,
            eval_data=str(write_rows(tmp_path / "heldout.jsonl", heldout)),
            max_steps=1,
            batch_size=40,
            micro_batch_size=5,
        ),
        tmp_path / "sft",
    )
    lines = read_metrics(out / "metrics.jsonl")
    baseline = next(line for line in lines if "val_loss" in line)
    assert baseline["step"] == 0
    # 13 rows in micro-batches of 5: the short last batch must not count more
    assert baseline["val_loss"] == pytest.approx(loss_by_hand(checkpoint, heldout), rel=1e-6)
    # one step over all 40 training rows, from the starting weights
    rows = [json.loads(line) for line in instructions.read_text().splitlines()]
    step = next(line for line in lines if "loss" in line)
    assert step["loss"] == pytest.approx(loss_by_hand(checkpoint, rows), rel=1e-6)
    last = [line["val_loss"] for line in lines if "val_loss" in line][-1]
    assert last == pytest.approx(loss_by_hand(out / "hf", heldout), rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"micro_batch_size": 1}, {"micro_batch_size": 2}, {"micro_batch_size": 4, "gradient_checkpointing": True}],
)
def test_micro_batches_do_not_change_training(
    checkpoint: Path, instructions: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    whole = train_sft(config(checkpoint, instructions), tmp_path / "whole")
    cut = train_sft(config(checkpoint, instructions, **change), tmp_path / "cut")
    for left, right in zip(read_metrics(whole / "metrics.jsonl"), read_metrics(cut / "metrics.jsonl"), strict=True):
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-5)
        assert right["grad_norm"] == pytest.approx(left["grad_norm"], rel=1e-4)


def test_packed_conversations_do_not_see_one_another(checkpoint: Path, instructions: Path, tmp_path: Path) -> None:
    # One step over all rows: padded one by one, or packed into a few sequences.
    padded = train_sft(config(checkpoint, instructions, max_steps=1, batch_size=40), tmp_path / "padded")
    probe = train_sft(config(checkpoint, instructions, max_steps=1, batch_size=1, packing=True), tmp_path / "probe")
    sequences = open_artifact(probe).stats["rows"]
    assert sequences < 20
    packed = train_sft(
        config(checkpoint, instructions, max_steps=1, batch_size=sequences, packing=True), tmp_path / "packed"
    )
    one, other = (read_metrics(out / "metrics.jsonl")[0] for out in (padded, packed))
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)


def test_the_checkpoint_artifact(checkpoint: Path, instructions: Path, tmp_path: Path) -> None:
    settings = config(checkpoint, instructions, eval_share=0.2, max_steps=None, epochs=2)
    out = train_sft(settings, tmp_path / "sft")
    manifest = open_artifact(out, kind="checkpoint")
    assert manifest.stats["stage"] == "sft"
    assert manifest.stats["tokenizer_digest"] == tokenizer_digest(checkpoint)
    assert not (out / "scratch").exists()
    assert any((out / "tensorboard").iterdir())
    loaded = load_model(out)
    ends = loaded.model.generation_config.eos_token_id
    assert loaded.tokenizer.convert_tokens_to_ids("<|im_end|>") in ends
    assert loaded.tokenizer.chat_template == AutoTokenizer.from_pretrained(checkpoint).chat_template
    with gzip.open(out / "heldout.jsonl.gz", "rt") as file:
        held = [json.loads(line) for line in file]
    assert len(held) + manifest.stats["rows"] == 40
    assert manifest.stats["steps"] == -(-2 * manifest.stats["rows"] // 8)
    again = train_sft(settings, tmp_path / "again")
    assert open_artifact(again).digest == manifest.digest


def test_lora_trains_few_weights_and_is_merged(checkpoint: Path, instructions: Path, tmp_path: Path) -> None:
    out = train_sft(config(checkpoint, instructions, lora=LoraConfig(rank=2), max_steps=8), tmp_path / "lora")
    stats = open_artifact(out).stats
    assert stats["trainable_parameters"] < 0.2 * sum(tensor.numel() for tensor in weights(out).values())
    before = dict(AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).state_dict())
    after = weights(out)
    assert before.keys() == after.keys()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved
    assert all("proj" in name for name in moved)
    # what was written is what was trained: its loss is that of the last logged steps, not of the start
    losses = [line["loss"] for line in read_metrics(out / "metrics.jsonl")]
    rows = [json.loads(line) for line in instructions.read_text().splitlines()]
    assert loss_by_hand(out / "hf", rows) < losses[0]


def test_a_diverging_run_says_so_and_leaves_no_output(checkpoint: Path, instructions: Path, tmp_path: Path) -> None:
    wild = config(checkpoint, instructions, learning_rate=1e30, warmup_share=0, max_grad_norm=0, max_steps=20)
    with pytest.raises(Exception, match="training diverged; lower learning_rate"):
        train_sft(wild, tmp_path / "sft")
    assert not (tmp_path / "sft").exists()


def test_settings_that_do_not_fit_the_checkpoint(
    checkpoint: Path, instructions: Path, tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="max_length = 4096 exceeds the context"):
        train_sft(config(checkpoint, instructions, max_length=4096), tmp_path / "a")
    other = AutoTokenizer.from_pretrained(checkpoint)
    other.add_tokens(["<new>"])
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="does not match the checkpoint"):
        train_sft(config(checkpoint, instructions, tokenizer=str(tmp_path / "other")), tmp_path / "b")
    small = save_model(tmp_path / "small", build_model(tokenizer), other)
    model = AutoModelForCausalLM.from_pretrained(small)
    model.resize_token_embeddings(300)
    model.save_pretrained(small)
    with pytest.raises(InputError, match="embedding only 300 rows"):
        train_sft(config(small, instructions), tmp_path / "c")
    with pytest.raises(InputError, match=r"none of 40 instructions fits max_length = 6"):
        train_sft(config(checkpoint, instructions, max_length=6), tmp_path / "d")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="precision = 'bfloat16' is for GPUs"):
            train_sft(config(checkpoint, instructions, precision="bfloat16"), tmp_path / "e")


def test_settings_that_contradict_each_other() -> None:
    from millbase.config import load_config

    for override, message in (
        (["micro_batch_size=3"], "batch_size = 64 is not a multiple of micro_batch_size = 3"),
        (["save_every=15"], "save_every = 15 is not a multiple of log_every = 10"),
        (["eval_data=x", "eval_share=0.1"], "set one of the two"),
        (["learning_rat=1"], "did you mean 'learning_rate'"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(SftConfig, {"model": "m", "data": "d"}, override)


def test_several_visible_gpus_do_not_split_the_batch(
    checkpoint: Path, instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import TrainingArguments

    original = TrainingArguments.__post_init__

    def two_gpus(self: TrainingArguments) -> None:
        original(self)
        self._n_gpu = 2

    monkeypatch.setattr(TrainingArguments, "__post_init__", two_gpus)
    assert train_sft(config(checkpoint, instructions, max_steps=1, save_every=1), tmp_path / "sft").is_dir()
