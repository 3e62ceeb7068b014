"""Pretraining text in the loss: windows of the shards, a mean over their tokens, the policy's own tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from millbase.artifacts import create_artifact
from millbase.errors import InputError
from training.posttrain.ppo import PpoConfig, train_ppo
from training.posttrain.ppo.trainer import PpoTrainer

DOCUMENTS = [list(range(5, 5 + n)) for n in (40, 1, 7, 90)]


@pytest.fixture
def tokens(policy_folder: Path, make_config: Callable[..., PpoConfig], tmp_path: Path) -> Path:
    """A `tokens` artifact of four documents, made by hand."""
    out = tmp_path / "tokens"
    with create_artifact(out, kind="tokens", config=make_config(), inputs={}, seed=0) as artifact:
        (artifact.path / "tokenizer").mkdir()
        shutil.copy(policy_folder / "tokenizer.json", artifact.path / "tokenizer" / "tokenizer.json")
        (artifact.path / "train").mkdir()
        table = pa.table(
            {
                "id": [str(n) for n in range(len(DOCUMENTS))],
                "source": ["made"] * len(DOCUMENTS),
                "bytes": pa.array([len(d) for d in DOCUMENTS], pa.int64()),
                "tokens": pa.array([np.array(d, np.uint16) for d in DOCUMENTS], pa.large_list(pa.uint16())),
            }
        )
        with pa.OSFile(str(artifact.path / "train" / "0.arrow"), "wb") as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
    return out


def test_windows_are_a_pure_function_of_the_step(make_trainer: Callable[..., PpoTrainer], tokens: Path) -> None:
    trainer = make_trainer(f'pretrain_mix={{"tokens": "{tokens}", "batch_size": 200, "sequence_length": 16}}')
    mix = trainer.updater.pretrain_mix
    assert mix is not None
    rows = mix.rows(3)
    assert rows == mix.rows(3) and rows != mix.rows(4) and len(rows) == 200
    assert all(row == list(range(row[0], row[0] + len(row))) and len(row) in (7, 16) for row in rows)
    short = sum(len(row) == 7 for row in rows)
    assert 2 < short < 30, "documents are drawn by their length: 7 of 137 tokens"


def test_gradient_is_that_of_the_mean_over_tokens(make_trainer: Callable[..., PpoTrainer], tokens: Path) -> None:
    settings = f'{{"tokens": "{tokens}", "batch_size": 8, "sequence_length": 16, "coef": 0.3}}'
    trainer = make_trainer(f"pretrain_mix={settings}", "micro_batch_size=3")
    mix, policy = trainer.updater.pretrain_mix, trainer.networks.policy
    assert mix is not None
    loss = mix.backward(policy, 5, trainer.config, trainer.group)
    found = {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad()
    total, count = torch.zeros(()), 0
    for row in mix.rows(5):
        logits = policy.model(input_ids=torch.tensor([row])).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:]), reduction="sum")
        count += len(row) - 1
    expected = 0.3 * total / count
    expected.backward()
    assert loss == pytest.approx(float(expected), rel=1e-5)
    for name, parameter in policy.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-6)


def test_whole_run_reports_it(make_config: Callable[..., PpoConfig], tokens: Path, tmp_path: Path) -> None:
    settings = f'{{"tokens": "{tokens}", "batch_size": 8, "sequence_length": 16}}'
    out = train_ppo(make_config(f"pretrain_mix={settings}"), tmp_path / "ppo")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(line["pretrain_loss"] > 0 for line in lines)


def test_other_tokenizer_or_length_is_refused(
    make_trainer: Callable[..., PpoTrainer], policy_folder: Path, tokens: Path
) -> None:
    mix: dict[str, Any] = {"tokens": str(tokens), "sequence_length": 500}
    with pytest.raises(InputError, match="exceeds the policy's 128 positions"):
        make_trainer(f"pretrain_mix={json.dumps(mix)}")
    mix["sequence_length"] = 16
    trainer = make_trainer()
    from training.posttrain.ppo.options import PretrainMixConfig
    from training.posttrain.ppo.pretrain_mix import PretrainMix

    with pytest.raises(InputError, match="made with another tokenizer"):
        PretrainMix(PretrainMixConfig(**mix), "another digest", 128, trainer.config.seed)
