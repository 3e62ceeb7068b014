"""Options of supervised fine-tuning: DoRA, QLoRA's refusal, NEFTune's noise, mixes, replay, statistics in tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from millbase.artifacts import create_artifact, open_artifact
from millbase.config import Config
from millbase.errors import InputError
from millbase.metrics import read_metrics
from training.posttrain.config import LoraConfig
from training.posttrain.quantize import unquantised
from training.posttrain.replay import replay_rows
from training.posttrain.run import row_length, tokens_read
from training.posttrain.sft import ReplayConfig, SftConfig, train_sft
from training.posttrain.split import repeat
from training.posttrain.stages.sft import SftTrainer
from training.posttrain.token_statistics import padding_share, token_statistics

from .conftest import assistant, small_run, user
from .test_sft import loss_by_hand


def config(checkpoint: Path, data: Path, **changes: Any) -> SftConfig:
    return SftConfig(**small_run(checkpoint, data, **changes))


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(out / "metrics.jsonl") if "loss" in line]


def test_dora_is_merged_into_what_was_trained(checkpoint: Path, instructions: Path, tmp_path: Path) -> None:
    heldout = [json.loads(line) for line in instructions.read_text().splitlines()]
    shared = {"max_steps": 8, "save_every": 8, "eval_data": str(instructions)}
    out = train_sft(config(checkpoint, instructions, lora=LoraConfig(rank=2, dora=True), **shared), tmp_path / "dora")
    plain = train_sft(config(checkpoint, instructions, lora=LoraConfig(rank=2), **shared), tmp_path / "plain")
    lengths = [open_artifact(folder).stats["trainable_parameters"] for folder in (out, plain)]
    assert lengths[0] > lengths[1], "one magnitude a column beside the adapters"
    assert losses(out) != losses(plain)
    # the written weights have the loss that the last validation saw with the adapters apart
    last = [line["val_loss"] for line in read_metrics(out / "metrics.jsonl") if "val_loss" in line][-1]
    assert loss_by_hand(out / "hf", heldout) == pytest.approx(last, rel=1e-5)


def test_four_bits_are_refused_where_they_cannot_be_had(checkpoint: Path, instructions: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="set lora too"):
        config(checkpoint, instructions, quantize=True)
    settings = config(checkpoint, instructions, quantize=True, lora=LoraConfig(), device="cpu")
    with pytest.raises(InputError, match="quantize needs a GPU"):
        train_sft(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapters_move_to_the_unquantised_weights(checkpoint: Path) -> None:
    """What QLoRA writes: adapters trained on rounded weights, merged into the exact ones."""
    import peft

    def adapted(rounded: bool) -> Any:
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        if rounded:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.copy_(parameter.to(torch.bfloat16).float())
        torch.manual_seed(3)
        settings = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        return peft.get_peft_model(model, settings)

    merged = unquantised(adapted(rounded=True), checkpoint).merge_and_unload().state_dict()
    expected = adapted(rounded=False).merge_and_unload().state_dict()
    assert merged.keys() == expected.keys()
    assert all(torch.allclose(merged[name], expected[name], atol=1e-6) for name in merged)


def test_neftune_adds_bounded_noise_while_training_only(
    checkpoint: Path, instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, float]] = []
    compute = SftTrainer.compute_loss

    def watch(self: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        def hook(module: Any, given: Any, output: torch.Tensor) -> None:
            clean = torch.nn.functional.embedding(given[0], module.weight)
            noise = (output - clean).abs().max() * (output.shape[1] * output.shape[2]) ** 0.5
            seen.append((module.training, float(noise.detach())))

        handle = model.get_input_embeddings().register_forward_hook(hook)
        try:
            return compute(self, model, inputs, *rest, **named)
        finally:
            handle.remove()

    monkeypatch.setattr(SftTrainer, "compute_loss", watch)
    shared = {"max_steps": 2, "eval_data": str(instructions)}
    noisy = train_sft(config(checkpoint, instructions, neftune_alpha=5.0, **shared), tmp_path / "noisy")
    training = [noise for mode, noise in seen if mode]
    assert training and all(4.5 < noise <= 5.0 + 1e-4 for noise in training)
    assert all(noise == 0 for mode, noise in seen if not mode)
    plain = train_sft(config(checkpoint, instructions, **shared), tmp_path / "plain")
    lines = [read_metrics(out / "metrics.jsonl") for out in (noisy, plain)]
    assert lines[0][0]["val_loss"] == lines[1][0]["val_loss"] and losses(noisy) != losses(plain)


def test_a_mix_has_each_source_as_often_as_it_weighs(
    checkpoint: Path, tmp_path: Path, write_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        name: write_rows(
            tmp_path / f"{name}.jsonl", [{"messages": user(f"{name} {n}") + assistant(f"{n}")} for n in range(20)]
        )
        for name in ("sum", "big", "small")
    }
    settings = config(
        checkpoint,
        files["sum"],
        mix=[{"data": str(files["big"]), "weight": 2.5}, {"data": [str(files["small"])], "weight": 0.25}],
        eval_share=0.2,
        max_steps=1,
        save_every=1,
    )
    rows: list[Any] = []
    from training.posttrain import run

    encode = run.encode_rows

    def keep(encoder: Any, one: Any, given: Any, share: float, what: str) -> Any:
        rows.extend(given if what == "instructions" else [])
        return encode(encoder, one, given, share, what)

    monkeypatch.setattr(run, "encode_rows", keep)
    out = train_sft(settings, tmp_path / "sft")
    names = [row["messages"][0]["content"].split()[0] for row in rows]
    counts = open_artifact(out).stats["mix"]
    assert [names.count(name) for name in ("sum", "big", "small")] == [count["rows"] for count in counts]
    kept = 20 - counts[1]["held_out"]
    assert counts[1]["rows"] == 2 * kept + round(0.5 * kept) and counts[2]["rows"] == round(
        0.25 * (20 - counts[2]["held_out"])
    )
    assert counts[1]["held_out"] > 0, "prompts that eval_share would hold out do not come in by the back door"
    assert set(open_artifact(out).inputs) >= {"data.0", "mix_0.0", "mix_1.0"}


def test_repeating_rows() -> None:
    rows = [{"n": n} for n in range(10)]
    assert repeat(rows, 2.0, 0) == rows * 2
    some = repeat(rows, 0.3, 0)
    assert len(some) == 3 and all(row in rows for row in some) and some == repeat(rows, 0.3, 0)
    assert repeat(rows, 0.01, 0) == []


class Nothing(Config):
    """No settings."""


DOCUMENTS = [list(range(5, 5 + length)) for length in (40, 1, 7, 90)]


@pytest.fixture(scope="module")
def tokens(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `tokens` artifact of four documents of rising token ids, made by hand."""
    out = tmp_path_factory.mktemp("pretraining") / "tokens"
    with create_artifact(out, kind="tokens", config=Nothing(), inputs={}, seed=0) as artifact:
        (artifact.path / "tokenizer").mkdir()
        shutil.copy(checkpoint / "tokenizer.json", artifact.path / "tokenizer" / "tokenizer.json")
        (artifact.path / "train").mkdir()
        table = pa.table(
            {
                "id": [str(number) for number in range(len(DOCUMENTS))],
                "source": ["made"] * len(DOCUMENTS),
                "bytes": pa.array([len(document) for document in DOCUMENTS], pa.int64()),
                "tokens": pa.array([np.array(d, np.uint16) for d in DOCUMENTS], pa.large_list(pa.uint16())),
            }
        )
        with pa.OSFile(str(artifact.path / "train" / "0.arrow"), "wb") as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
    return out


def test_replayed_text_is_its_share_of_the_trained_tokens(
    checkpoint: Path, instructions: Path, tokens: Path, tmp_path: Path
) -> None:
    rows = replay_rows(ReplayConfig(tokens=str(tokens), share=0.25, sequence_length=16), checkpoint, 128, 600, seed=3)
    assert all(row["labels"] == row["input_ids"] and len(row["input_ids"]) in (7, 16) for row in rows)
    assert 200 <= sum(len(row["input_ids"]) - 1 for row in rows) < 200 + 16
    # one step over everything: the mean over the assistant's tokens and all of the windows'
    trained = open_artifact(
        train_sft(config(checkpoint, instructions, max_steps=1, save_every=1), tmp_path / "probe")
    ).stats["data"]["tokens"]["trained_tokens"]
    replay = ReplayConfig(tokens=str(tokens), share=0.25, sequence_length=16)
    windows = [row["input_ids"] for row in replay_rows(replay, checkpoint, 128, trained, seed=0)]
    out = train_sft(
        config(checkpoint, instructions, replay=replay, batch_size=40 + len(windows), max_steps=1, save_every=1),
        tmp_path / "sft",
    )
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64).eval()
    total, count = 0.0, 0
    for ids in windows:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1]
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))
        count += len(ids) - 1
    conversations = [json.loads(line) for line in instructions.read_text().splitlines()]
    expected = (loss_by_hand(checkpoint, conversations) * trained + total) / (trained + count)
    assert losses(out)[0] == pytest.approx(expected, rel=1e-5)
    assert set(open_artifact(out).inputs) >= {"data.0", "replay"}


def test_replay_of_other_tokens_is_refused(checkpoint: Path, tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sequence_length = 500 exceeds max_length = 128"):
        replay_rows(ReplayConfig(tokens=str(tokens), sequence_length=500), checkpoint, 128, 10, 0)
    other = json.loads((checkpoint / "tokenizer.json").read_text())
    other["added_tokens"][0]["content"] = "<|other|>"
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="made with another tokenizer than the model's"):
        replay_rows(ReplayConfig(tokens=str(tokens)), tmp_path, 128, 10, 0)


def test_statistics_by_hand() -> None:
    figures = token_statistics([4, 10, 6, 10], [1, 5, 2, 4], max_length=10)
    assert figures == {
        "rows": 4,
        "tokens": 30,
        "length": {"mean": 7.5, "median": 6, "p95": 10, "max": 10},
        "at_limit": 2,
        "trained_tokens": 12,
        "trained_length": {"mean": 3.0, "median": 2, "p95": 5, "max": 5},
    }
    assert "trained_tokens" not in token_statistics([1], None, 5)
    pair = {"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5, 6]}
    assert row_length(pair) == 5 and tokens_read(pair) == 8
    ranking = {"answer_ids": [[1, 2], [3], [4, 5, 6]]}
    assert row_length(ranking) == 3 and tokens_read(ranking) == 6
    assert token_statistics([5], None, 9, tokens_read(pair))["tokens"] == 8
    # passes of two rows: (4, 10) pads 6 of 20, (6, 10) pads 4 of 20
    assert padding_share([4, 10, 6, 10], [0, 1, 2, 3], 2) == pytest.approx(10 / 40)


def test_statistics_are_told_before_training(
    checkpoint: Path, instructions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        out = train_sft(config(checkpoint, instructions, max_steps=1, save_every=1), tmp_path / "sft")
    assert any("40 rows," in record.message and "tokens trained on" in record.message for record in caplog.records)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    trained = 0
    for row in map(json.loads, instructions.read_text().splitlines()):
        text = row["messages"][1]["content"] + "<|im_end|>"
        trained += len(tokenizer(text, add_special_tokens=False)["input_ids"])
    stats = open_artifact(out).stats
    assert stats["data"]["tokens"]["trained_tokens"] == trained and 0 <= stats["padding_share"] < 1
