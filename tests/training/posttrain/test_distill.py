"""Distillation: divergences against float64 sums and TRL's own, the loss of a step, kept tokens, on-policy steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from millbase.artifacts import open_artifact
from millbase.errors import InputError
from millbase.metrics import read_metrics
from training.posttrain.distill import DistillConfig, train_distill
from training.posttrain.divergences import buckets, divergence, with_rest

from .conftest import build_model, save_model, small_run, sums


@pytest.fixture(scope="module")
def teacher(other: Path) -> Path:
    return other


def config(checkpoint: Path, data: Path, teacher: Path, **changes: Any) -> DistillConfig:
    return DistillConfig(**small_run(checkpoint, data, teacher=str(teacher), **changes))


def random_pair(rows: int = 5, size: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    both = 2 * torch.randn(2, rows, size, generator=generator, dtype=torch.float64)
    return both[0].log_softmax(-1), both[1].log_softmax(-1)


def test_divergences_are_their_definitions() -> None:
    teacher, student = random_pair()
    p, q = teacher.exp(), student.exp()
    m = 0.3 * p + 0.7 * q
    expected = {
        "forward_kl": (p * (p / q).log()).sum(1),
        "reverse_kl": (q * (q / p).log()).sum(1),
        "jsd": 0.3 * (p * (p / m).log()).sum(1) + 0.7 * (q * (q / m).log()).sum(1),
    }
    for kind, value in expected.items():
        assert torch.allclose(divergence(kind, teacher, student, 0.3), value, rtol=1e-12)  # type: ignore[arg-type]


def test_jsd_is_trls() -> None:
    from trl.experimental.gkd import GKDTrainer

    teacher, student = random_pair()
    theirs = GKDTrainer.generalized_jsd_loss(student[None], teacher[None], beta=0.3, reduction="sum")
    assert float(divergence("jsd", teacher, student, 0.3).sum()) == pytest.approx(float(theirs), rel=1e-9)


def test_buckets_are_a_lower_bound_that_grows_to_the_whole() -> None:
    teacher, student = random_pair()
    for kind in ("forward_kl", "reverse_kl", "jsd"):
        whole = divergence(kind, teacher, student, 0.5)  # type: ignore[arg-type]
        before = torch.zeros(5, dtype=torch.float64)
        for k in range(1, 11):
            kept = teacher.topk(k, dim=1)
            merged = divergence(kind, with_rest(kept.values), buckets(student, kept.indices), 0.5)  # type: ignore[arg-type]
            assert bool((merged >= before - 1e-12).all() and (merged <= whole + 1e-12).all())
            before = merged
        assert torch.allclose(before, whole, rtol=1e-9), "ten of eleven tokens and the rest is all eleven"


def test_an_impossible_outcome_adds_nothing() -> None:
    teacher = torch.tensor([[0.0, -torch.inf]], dtype=torch.float64)
    student = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    assert float(divergence("forward_kl", teacher, student, 0.5)) == pytest.approx(0.6931471805599453)


def by_hand(student: Path, teacher: Path, rows: list[dict[str, Any]], temperature: float) -> tuple[float, float]:
    """Mean forward KL and cross-entropy of the assistant's tokens, one unpadded conversation at a time in double."""
    models = [AutoModelForCausalLM.from_pretrained(f, dtype=torch.float64).eval() for f in (student, teacher)]
    tokenizer = AutoTokenizer.from_pretrained(student)
    kls, crosses = [], []
    for row in rows:
        encoded = tokenizer.apply_chat_template(row["messages"], return_dict=True, return_assistant_tokens_mask=True)
        ids, mask = torch.tensor(encoded["input_ids"]), torch.tensor(encoded["assistant_masks"])[1:].bool()
        with torch.no_grad():
            q, p = ((model(ids[None]).logits[0, :-1] / temperature).log_softmax(-1)[mask] for model in models)
            plain = models[0](ids[None]).logits[0, :-1].log_softmax(-1)[mask]
        kls.append((p.exp() * (p - q)).sum(-1))
        crosses.append(-plain.gather(1, ids[1:][mask][:, None])[:, 0])
    return float(torch.cat(kls).mean()), float(torch.cat(crosses).mean())


@pytest.mark.parametrize("top_k", [None, 310])
def test_loss_of_a_step(checkpoint: Path, instructions: Path, teacher: Path, tmp_path: Path, top_k: int | None) -> None:
    """The whole vocabulary, run at every step or kept on disk, in micro-batches of 5."""
    settings = {"max_steps": 1, "batch_size": 40, "micro_batch_size": 5, "temperature": 2.0}
    settings |= {"cross_entropy_weight": 0.25, "top_k": top_k}
    out = train_distill(config(checkpoint, instructions, teacher, **settings), tmp_path / "out")
    rows = [json.loads(line) for line in instructions.read_text().splitlines()]
    kl, crossentropy = by_hand(checkpoint, teacher, rows, temperature=2.0)
    line = read_metrics(out / "metrics.jsonl")[0]
    assert line["loss"] == pytest.approx(4 * kl + 0.25 * crossentropy, rel=1e-5)


def test_kept_tokens_are_found_again_and_train_as_the_whole_does(
    checkpoint: Path,
    instructions: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_rows: Any,
) -> None:
    from training.posttrain.stages import teacher as module

    calls, compute = [], module._compute
    monkeypatch.setattr(module, "_compute", lambda *a: (calls.append(1), compute(*a))[1])
    heldout = str(write_rows(tmp_path / "heldout.jsonl", sums(9, seed=9)))
    shared = {"teacher_cache": str(tmp_path / "kept"), "eval_data": heldout, "micro_batch_size": 4}
    first = train_distill(config(checkpoint, instructions, teacher, top_k=40, **shared), tmp_path / "first")
    again = train_distill(
        config(checkpoint, instructions, teacher, top_k=40, divergence="jsd", **shared), tmp_path / "again"
    )
    assert len(calls) == 2, "once for each data set"
    assert len(list((tmp_path / "kept").iterdir())) == 2
    lines = read_metrics(first / "metrics.jsonl")
    values = [line["val_loss"] for line in lines if "val_loss" in line]
    assert values[-1] < values[0]
    assert read_metrics(again / "metrics.jsonl")[-1]["val_loss"] < values[0]


def test_on_policy_steps_train_on_the_students_answers_and_repeat(
    checkpoint: Path, instructions: Path, teacher: Path, tmp_path: Path
) -> None:
    settings = {
        "on_policy": 1.0,
        "divergence": "reverse_kl",
        "max_new_tokens": 12,
        "max_steps": 4,
        "learning_rate": 3e-3,
    }
    whole = train_distill(config(checkpoint, instructions, teacher, **settings), tmp_path / "whole")
    lines = read_metrics(whole / "metrics.jsonl")
    assert all(0 < line["sampled_length"] <= 12 for line in lines)
    again = train_distill(config(checkpoint, instructions, teacher, **settings), tmp_path / "again")
    again_lines = read_metrics(again / "metrics.jsonl")
    for name in ("loss", "divergence", "sampled_length"):
        assert [line[name] for line in lines] == [line[name] for line in again_lines]
    assert open_artifact(whole, kind="checkpoint").stats["stage"] == "distill"


def test_a_teacher_with_another_vocabulary_is_refused(
    checkpoint: Path, instructions: Path, tokenizer: Any, tmp_path: Path
) -> None:
    changed = AutoTokenizer.from_pretrained(checkpoint)
    changed.add_tokens(["<new>"])
    stranger = save_model(tmp_path / "stranger", build_model(changed), changed)
    with pytest.raises(InputError, match=r"teacher .* has another vocabulary"):
        train_distill(config(checkpoint, instructions, stranger), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="computed before training"):
        DistillConfig(model="m", data="d", teacher="t", top_k=4, on_policy=0.5)
    with pytest.raises(ValidationError, match="no answers of the data"):
        DistillConfig(model="m", data="d", teacher="t", cross_entropy_weight=1, on_policy=0.5)
