"""KTO: the loss of a step by hand and against TRL's, the mismatched answers, weights, and what it does to a policy."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from millbase.artifacts import open_artifact
from millbase.errors import InputError, StageError
from millbase.metrics import read_metrics
from training.posttrain import objectives
from training.posttrain.data import load_labelled
from training.posttrain.encode import ChatEncoder
from training.posttrain.kto import KtoConfig, train_kto
from training.posttrain.stages.kto import mismatched

from .conftest import assistant, pairs, small_run, user


def labelled(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Two desirable answers to one undesirable, of different lengths."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        tail = " please" * generator.randrange(4)
        label = number % 3 != 0
        answer = f"the answer is {number % 10}" if label else f"small{tail}"
        rows.append({"prompt": f"what is {number}", "completion": answer, "label": label})
    return rows


def log_ratios(
    policy: Path, reference: Path, rows: list[dict[str, Any]], answers: list[list[int]] | None
) -> torch.Tensor:
    """log pi - log ref of each row's answer (or of the token ids `answers`), one unpadded row at a time in float64."""
    models = [AutoModelForCausalLM.from_pretrained(f, dtype=torch.float64).eval() for f in (policy, reference)]
    tokenizer = AutoTokenizer.from_pretrained(policy)
    ratios = []
    for number, row in enumerate(rows):
        prompt = tokenizer.apply_chat_template(user(row["prompt"]), tokenize=False, add_generation_prompt=True)
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        own = tokenizer(row["completion"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        answer = own if answers is None else answers[number]
        ids = torch.tensor([before + answer])
        with torch.no_grad():
            sums = [
                m(ids).logits[0, len(before) - 1 : -1].log_softmax(-1).gather(1, ids[0, len(before) :, None]).sum()
                for m in models
            ]
        ratios.append(sums[0] - sums[1])
    return torch.stack(ratios)


def answers_of_others(folder: Path, rows: list[dict[str, Any]]) -> list[list[int]]:
    encoder = ChatEncoder(AutoTokenizer.from_pretrained(folder), 128)
    encoded = [
        encoder.answer({**row, "prompt": user(row["prompt"]), "completion": assistant(row["completion"])})
        for row in rows
    ]
    return mismatched(encoded, 128)


@pytest.mark.parametrize("micro", [12, 3])
@pytest.mark.parametrize("swapped", [False, True])
def test_loss_of_a_step(
    micro: int, swapped: bool, checkpoint: Path, other: Path, tmp_path: Path, write_rows: Any
) -> None:
    """Equations 7 and 8 with the KL of all twelve rows; with the models swapped the estimate has the other sign."""
    policy, reference = (other, checkpoint) if swapped else (checkpoint, other)
    rows = labelled(12)
    settings = KtoConfig(
        **small_run(
            policy,
            write_rows(tmp_path / "rows.jsonl", rows),
            reference=str(reference),
            beta=0.02,
            desirable_weight=0.7,
            undesirable_weight=1.3,
            batch_size=12,
            micro_batch_size=micro,
            max_steps=1,
        )
    )
    line = read_metrics(train_kto(settings, tmp_path / "kto") / "metrics.jsonl")[0]
    ratio = log_ratios(policy, reference, rows, None)
    kl = log_ratios(policy, reference, rows, answers_of_others(policy, rows)).mean().clamp(min=0)
    losses = [
        0.7 * (1 - torch.sigmoid(0.02 * (r - kl))) if row["label"] else 1.3 * (1 - torch.sigmoid(0.02 * (kl - r)))
        for r, row in zip(ratio, rows, strict=True)
    ]
    assert line["loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
    assert line["kl"] == pytest.approx(float(kl), rel=1e-5, abs=1e-6)
    label = torch.tensor([row["label"] for row in rows])
    assert line["reward_chosen"] == pytest.approx(0.02 * float(ratio[label].mean()), rel=1e-4)
    assert line["reward_rejected"] == pytest.approx(0.02 * float(ratio[~label].mean()), rel=1e-4)
    assert line["accuracy"] == pytest.approx(float(((ratio > kl) == label).double().mean()))


def test_both_signs_of_the_kl_estimate_are_tested(checkpoint: Path, other: Path) -> None:
    rows = labelled(12)
    others = answers_of_others(checkpoint, rows)
    kl = float(log_ratios(checkpoint, other, rows, others).mean())
    assert kl != 0 and kl == pytest.approx(-float(log_ratios(other, checkpoint, rows, others).mean()), rel=1e-9)


def test_apo_zero_is_kto_without_the_estimate(checkpoint: Path, other: Path, tmp_path: Path, write_rows: Any) -> None:
    rows = labelled(9)
    settings = KtoConfig(
        **small_run(
            checkpoint,
            write_rows(tmp_path / "rows.jsonl", rows),
            reference=str(other),
            loss="apo_zero_unpaired",
            beta=0.02,
            batch_size=9,
            max_steps=1,
        )
    )
    line = read_metrics(train_kto(settings, tmp_path / "kto") / "metrics.jsonl")[0]
    ratio = log_ratios(checkpoint, other, rows, None)
    losses = [
        1 - torch.sigmoid(0.02 * r) if row["label"] else torch.sigmoid(0.02 * r)
        for r, row in zip(ratio, rows, strict=True)
    ]
    assert line["loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)


def test_gradient_of_the_objective() -> None:
    """d/dr of lambda (1 - sigmoid(beta s (r - z))) is -lambda s beta p (1 - p); none flows through z."""
    ratio = torch.tensor([0.4, -2.0], dtype=torch.float64, requires_grad=True)
    objectives.kto(ratio, torch.tensor([True, False]), torch.tensor(0.3), 0.5, (0.7, 1.3)).sum().backward()
    assert ratio.grad is not None
    for value, sign, weight, found in zip([0.4, -2.0], [1, -1], [0.7, 1.3], ratio.grad, strict=True):
        p = torch.sigmoid(torch.tensor(0.5 * sign * (value - 0.3), dtype=torch.float64))
        assert float(found) == pytest.approx(float(-weight * sign * 0.5 * p * (1 - p)), rel=1e-6)


def test_mismatched_answers_are_those_of_other_prompts() -> None:
    rows = [
        {"prompt_ids": [prompt], "completion_ids": [10 + number] * (1 + number % 3)}
        for number, prompt in enumerate([1, 1, 2, 3, 1, 2])
    ]
    found = mismatched(rows, 3)
    for row, answer in zip(rows, found, strict=True):
        owners = [r["prompt_ids"] for r in rows if r["completion_ids"][: len(answer)] == answer]
        assert row["prompt_ids"] not in owners and 1 <= len(answer) <= 2
    with pytest.raises(InputError, match="same prompt"):
        mismatched([rows[0], rows[1], rows[4]], 9)


def test_the_reference_is_kept_by_digest_and_training_moves_answers_apart(
    checkpoint: Path, tmp_path: Path, write_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.posttrain.stages.kto import KtoTrainer

    compute, calls = KtoTrainer._reference_logprobs, []
    monkeypatch.setattr(KtoTrainer, "_reference_logprobs", lambda *a: (calls.append(1), compute(*a))[1])
    data = write_rows(tmp_path / "rows.jsonl", labelled(24))
    heldout = write_rows(tmp_path / "heldout.jsonl", labelled(7, seed=3))
    settings = small_run(
        checkpoint, data, eval_data=str(heldout), reference_cache=str(tmp_path / "kept"), max_steps=20,
        learning_rate=3e-3, save_every=20, micro_batch_size=4,
    )  # fmt: skip
    out = train_kto(KtoConfig(**settings), tmp_path / "kto")
    final = open_artifact(out, kind="checkpoint").stats["final"]
    assert final["val_reward_chosen"] > 0 > final["val_reward_rejected"] and final["val_accuracy"] >= 0.8
    assert len(calls) == 2
    train_kto(KtoConfig(**{**settings, "learning_rate": 1e-4}), tmp_path / "again")
    assert len(calls) == 2 and len(list((tmp_path / "kept").iterdir())) == 2
    lora = {**settings, "reference_cache": None, "lora": {"rank": 2}, "max_steps": 2, "save_every": 2}
    first = read_metrics(train_kto(KtoConfig(**lora), tmp_path / "lora") / "metrics.jsonl")
    assert next(x for x in first if "loss" in x)["loss"] == pytest.approx(0.5, abs=1e-4), "the start is the reference"


def test_labelled_rows_and_pairs(tmp_path: Path, write_rows: Any) -> None:
    rows = [{"prompt": "q", "completion": "a", "label": 1}, {"prompt": "q", "chosen": "a", "rejected": "b"}]
    loaded = load_labelled(str(write_rows(tmp_path / "a.jsonl", rows)))
    assert [(row["completion"][0]["content"], row["label"]) for row in loaded.rows] == [
        ("a", True), ("a", True), ("b", False),
    ]  # fmt: skip
    for row, reason in (({"completion": "a"}, "no label"), ({"completion": "a", "label": "good"}, "no label")):
        with pytest.raises(StageError, match=reason):
            load_labelled(str(write_rows(tmp_path / "b.jsonl", [{"prompt": "q", **row}])))


def test_settings_and_data_that_cannot_serve(checkpoint: Path, tmp_path: Path, write_rows: Any) -> None:
    with pytest.raises(ValidationError, match="no batches of one row"):
        KtoConfig(model="m", data="d", micro_batch_size=1)
    rows = [row for row in labelled(12) if row["label"]]
    with pytest.raises(InputError, match="all 8 answers are desirable"):
        train_kto(KtoConfig(**small_run(checkpoint, write_rows(tmp_path / "a.jsonl", rows))), tmp_path / "a")


def test_pairs_serve_as_labelled_answers(checkpoint: Path, tmp_path: Path, write_rows: Any) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", pairs(8))
    out = train_kto(KtoConfig(**small_run(checkpoint, data, max_steps=1, save_every=1)), tmp_path / "kto")
    assert open_artifact(out).stats["rows"] == 16
    assert json.loads((out / "manifest.json").read_text())["kind"] == "checkpoint"
