"""DPO's loss against equation 7 of Rafailov et al. 2023, with and without the supervised term."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from millbase.artifacts import open_artifact
from millbase.errors import InputError
from millbase.metrics import read_metrics
from training.posttrain.config import LoraConfig
from training.posttrain.dpo import DpoConfig, train_dpo

from .conftest import build_model, pairs, save_model, small_run


def config(checkpoint: Path, data: Path, **changes: Any) -> DpoConfig:
    return DpoConfig(**small_run(checkpoint, data, **changes))


def answer_logprobs(folder: Path, rows: list[dict[str, Any]], side: str) -> list[torch.Tensor]:
    """Log-probabilities of each answer's tokens up to its `<|im_end|>`, one unpadded row at a time in double."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    result = []
    for row in rows:
        prompt = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(row[side][0]["content"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        ids = torch.tensor([before + answer])
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits[0].log_softmax(-1)
        result.append(logprobs[len(before) - 1 : -1].gather(1, ids[0, len(before) :, None])[:, 0])
    return result


def dpo_by_hand(policy: Path, reference: Path, rows: list[dict[str, Any]], beta: float) -> tuple[float, float]:
    """(mean loss, mean reward margin)."""
    ratio = {
        side: torch.stack([x.sum() for x in answer_logprobs(policy, rows, side)])
        - torch.stack([x.sum() for x in answer_logprobs(reference, rows, side)])
        for side in ("chosen", "rejected")
    }
    margins = beta * (ratio["chosen"] - ratio["rejected"])
    return float(-F.logsigmoid(margins).mean()), float(margins.mean())


@pytest.mark.parametrize("precompute", [True, False])
def test_loss_is_equation_7(
    checkpoint: Path, other: Path, preferences: Path, tmp_path: Path, write_rows: Any, precompute: bool
) -> None:
    heldout = pairs(13, seed=9)
    settings = config(
        checkpoint,
        preferences,
        eval_data=str(write_rows(tmp_path / "heldout.jsonl", heldout)),
        reference=str(other),
        precompute_reference=precompute,
        max_steps=1,
        batch_size=40,
        micro_batch_size=5,
        beta=0.3,
    )
    out = train_dpo(settings, tmp_path / "dpo")
    lines = read_metrics(out / "metrics.jsonl")
    first, last = (line for line in lines if "val_loss" in line)
    for folder, line in ((checkpoint, first), (out / "hf", last)):
        loss, margin = dpo_by_hand(folder, other, heldout, beta=0.3)
        assert line["val_loss"] == pytest.approx(loss, rel=1e-4)
        assert line["val_margin"] == pytest.approx(margin, rel=1e-3)
    rows = [json.loads(line) for line in preferences.read_text().splitlines()]
    step = next(line for line in lines if "loss" in line)
    assert step["loss"] == pytest.approx(dpo_by_hand(checkpoint, other, rows, beta=0.3)[0], rel=1e-4)


def test_the_start_is_the_reference_by_default_and_stays_it(
    checkpoint: Path, preferences: Path, tmp_path: Path
) -> None:
    runs = [
        train_dpo(config(checkpoint, preferences, precompute_reference=precompute), tmp_path / str(precompute))
        for precompute in (True, False)
    ]
    losses = [[line["loss"] for line in read_metrics(out / "metrics.jsonl")] for out in runs]
    assert losses[0][0] == pytest.approx(math.log(2), rel=1e-4)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_the_supervised_term_is_the_chosen_answers_cross_entropy(
    checkpoint: Path, preferences: Path, tmp_path: Path
) -> None:
    out = train_dpo(config(checkpoint, preferences, max_steps=1, batch_size=40, sft_weight=0.2), tmp_path / "dpo")
    rows = [json.loads(line) for line in preferences.read_text().splitlines()]
    crossentropy = -torch.cat(answer_logprobs(checkpoint, rows, "chosen")).mean()
    expected = math.log(2) + 0.2 * float(crossentropy)
    assert read_metrics(out / "metrics.jsonl")[0]["loss"] == pytest.approx(expected, rel=1e-4)


def test_micro_batches_do_not_change_training(checkpoint: Path, preferences: Path, tmp_path: Path) -> None:
    whole = train_dpo(config(checkpoint, preferences), tmp_path / "whole")
    cut = train_dpo(config(checkpoint, preferences, micro_batch_size=2), tmp_path / "cut")
    for left, right in zip(read_metrics(whole / "metrics.jsonl"), read_metrics(cut / "metrics.jsonl"), strict=True):
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-4)


def test_adapters_use_the_start_as_reference(checkpoint: Path, preferences: Path, tmp_path: Path) -> None:
    settings = config(checkpoint, preferences, lora=LoraConfig(rank=4), max_steps=6, learning_rate=1e-2)
    out = train_dpo(settings, tmp_path / "dpo")
    losses = [line["loss"] for line in read_metrics(out / "metrics.jsonl")]
    assert losses[0] == pytest.approx(math.log(2), rel=1e-4)
    assert losses[-1] < 0.9 * losses[0]
    rows = [json.loads(line) for line in preferences.read_text().splitlines()]
    assert dpo_by_hand(out / "hf", checkpoint, rows, beta=0.1)[0] < losses[0]
    assert open_artifact(out, kind="checkpoint").stats["stage"] == "dpo"


def test_a_reference_with_another_vocabulary_is_refused(
    checkpoint: Path, preferences: Path, tokenizer: Any, tmp_path: Path
) -> None:
    changed = AutoTokenizer.from_pretrained(checkpoint)
    changed.add_tokens(["<new>"])
    stranger = save_model(tmp_path / "stranger", build_model(changed), changed)
    with pytest.raises(InputError, match=r"reference .* has another vocabulary"):
        train_dpo(config(checkpoint, preferences, reference=str(stranger)), tmp_path / "dpo")
    assert not (tmp_path / "dpo").exists()
