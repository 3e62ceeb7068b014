"""The process reward model: its loss by hand, the token it is read at, what it learns, and how solutions are scored."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForTokenClassification

from millbase.artifacts import open_artifact
from millbase.errors import ConfigError, InputError, StageError
from millbase.metrics import read_metrics
from millbase.seeds import seed_everything
from training.load import load_reward_model
from training.posttrain.encode import ChatEncoder
from training.posttrain.prm import PrmConfig, train_prm
from training.posttrain.process_bench import process_bench
from training.posttrain.stages.prm import PrmStage
from training.posttrain.stepwise import load_stepwise
from training.process_reward import LoadedProcessRewardModel, aggregate, split_steps, window_marks

from .conftest import assistant, small_run, user


def solutions(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Sums of digits step by step; from a wrong step on all is wrong. A wrong step says `small`, a right one `big`."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        length, first = generator.randrange(1, 5), generator.choice([None, None, 0, 1, 2])
        labels = [first is None or place < first for place in range(length)]
        steps = [
            f"{generator.choice(['the sum', 'answer', 'plus'])} {generator.randrange(10)} is {'big' if ok else 'small'}"
            for ok in labels
        ]
        rows.append({"prompt": f"what is {generator.randrange(10)}", "completions": steps, "labels": labels})
    return rows


def config(checkpoint: Path, data: Path, **changes: Any) -> PrmConfig:
    return PrmConfig(**small_run(checkpoint, data, **changes))


@pytest.fixture(scope="module")
def stepwise(tmp_path_factory: pytest.TempPathFactory, write_rows: Any) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "steps.jsonl", solutions(24))


def logits_by_hand(model: Any, tokenizer: Any, row: dict[str, Any], separator: str = "\n\n") -> torch.Tensor:
    """`[steps, 2]`: the head on the hidden state after each step's separator, one unpadded solution in float64."""
    prompt = tokenizer.apply_chat_template(user(row["prompt"]), tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ends = []
    for step in row["completions"]:
        for text in (step, separator):
            ids = ids + tokenizer(text, add_special_tokens=False)["input_ids"]
        ends.append(len(ids) - 1)
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        return hidden[ends] @ model.score.weight.T + model.score.bias


def loss_by_hand(model: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> float:
    """Mean over labelled steps of -log softmax(logits)[label]."""
    losses = []
    for row in rows:
        for values, label in zip(logits_by_hand(model, tokenizer, row), row["labels"], strict=True):
            if label is not None:
                wrong, right = values.exp()
                losses.append(-torch.log((right if label else wrong) / (right + wrong)))
    return float(torch.stack(losses).mean())


def test_loss_of_a_step_is_the_cross_entropy_of_all_its_labelled_steps(
    checkpoint: Path, tmp_path: Path, write_rows: Any, tokenizer: Any
) -> None:
    """Solutions of one to four steps in micro-batches of 3: a mean of micro-batch means would be another number."""
    rows = solutions(12, seed=3)
    for row in rows[::3]:
        row["labels"] = [*row["labels"][:1], *[None] * (len(row["labels"]) - 1)]
    heldout = solutions(7, seed=5)
    settings = config(
        checkpoint,
        write_rows(tmp_path / "steps.jsonl", rows),
        eval_data=str(write_rows(tmp_path / "heldout.jsonl", heldout)),
        batch_size=12,
        micro_batch_size=3,
        max_steps=1,
    )
    out = train_prm(settings, tmp_path / "prm")
    seed_everything(settings.seed)
    start = PrmStage(settings).start().model.double().eval()
    lines = read_metrics(out / "metrics.jsonl")
    first = next(x["loss"] for x in lines if "loss" in x)
    assert first == pytest.approx(loss_by_hand(start, tokenizer, rows), rel=1e-5)
    assert lines[0]["val_loss"] == pytest.approx(loss_by_hand(start, tokenizer, heldout), rel=1e-5)
    trained = AutoModelForTokenClassification.from_pretrained(out / "hf", dtype=torch.float64).eval()
    assert lines[-1]["val_loss"] == pytest.approx(loss_by_hand(trained, tokenizer, heldout), rel=1e-5)


def test_micro_batches_do_not_change_training(checkpoint: Path, stepwise: Path, tmp_path: Path) -> None:
    whole = train_prm(config(checkpoint, stepwise, max_steps=3), tmp_path / "whole")
    cut = train_prm(config(checkpoint, stepwise, max_steps=3, micro_batch_size=1), tmp_path / "cut")
    for left, right in zip(read_metrics(whole / "metrics.jsonl"), read_metrics(cut / "metrics.jsonl"), strict=True):
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-5)
        assert right["grad_norm"] == pytest.approx(left["grad_norm"], rel=1e-4)


@pytest.fixture(scope="module")
def trained(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, write_rows: Any) -> Path:
    """A model that has learned the rule of `solutions`, aggregating by product."""
    folder = tmp_path_factory.mktemp("prm")
    settings = config(
        checkpoint,
        write_rows(folder / "steps.jsonl", solutions(200, seed=1)),
        eval_data=str(write_rows(folder / "heldout.jsonl", solutions(60, seed=2))),
        max_steps=40,
        batch_size=16,
        learning_rate=3e-3,
        log_every=10,
        save_every=40,
        aggregate="product",
    )
    return train_prm(settings, folder / "out")


def test_a_rule_is_learned_and_the_heldout_figures_say_so(trained: Path, tokenizer: Any) -> None:
    manifest = open_artifact(trained, kind="process-reward-model")
    figures = manifest.stats["heldout"]
    assert figures["step_accuracy"] >= 0.9 and figures["f1"] >= 0.8
    assert manifest.stats["final"]["val_accuracy"] == pytest.approx(figures["step_accuracy"], abs=1e-5)
    model = AutoModelForTokenClassification.from_pretrained(trained / "hf", dtype=torch.float64).eval()
    rows = solutions(60, seed=2)
    probabilities = [logits_by_hand(model, tokenizer, row).softmax(-1)[:, 1].tolist() for row in rows]
    expected = process_bench(probabilities, [row["labels"] for row in rows], 0.5)
    assert figures == pytest.approx(expected, abs=1e-5)


def test_adapters_are_merged_with_the_head(checkpoint: Path, stepwise: Path, tmp_path: Path, tokenizer: Any) -> None:
    settings = config(
        checkpoint, stepwise, eval_data=str(stepwise), lora={"rank": 2}, gradient_checkpointing=True, max_steps=6,
        save_every=6,
    )  # fmt: skip
    out = train_prm(settings, tmp_path / "lora")
    stats = open_artifact(out).stats
    model = AutoModelForTokenClassification.from_pretrained(out / "hf", dtype=torch.float64).eval()
    assert stats["trainable_parameters"] < 0.2 * sum(p.numel() for p in model.parameters())
    assert loss_by_hand(model, tokenizer, solutions(24)) == pytest.approx(stats["final"]["val_loss"], rel=1e-5)


def test_solutions_are_scored_as_trained_and_ranked(trained: Path, tokenizer: Any) -> None:
    loaded = load_reward_model(trained)
    assert isinstance(loaded, LoadedProcessRewardModel) and loaded.how == "product"
    rows = solutions(9, seed=7)
    model = loaded.model.double()
    by_hand = [logits_by_hand(model, tokenizer, row).softmax(-1)[:, 1] for row in rows]
    prompts, steps = [user(row["prompt"]) for row in rows], [row["completions"] for row in rows]
    found = loaded.score_steps(prompts, steps, batch_size=4)
    for left, right in zip(found, by_hand, strict=True):
        assert left == pytest.approx(right.tolist(), abs=1e-6)
    texts = [user(row["prompt"]) + assistant("\n\n".join(row["completions"])) for row in rows]
    assert loaded.score(texts, batch_size=2) == pytest.approx([float(x.prod()) for x in by_hand], abs=1e-6)
    # best of N: the only solution without a wrong step wins
    candidates = [["the sum is big", "plus 3 is small"], ["the sum is big", "plus 3 is big"], ["answer 2 is small"]]
    scores = loaded.score([user("what is 1") + assistant("\n\n".join(steps)) for steps in candidates])
    assert max(range(3), key=scores.__getitem__) == 1
    with pytest.raises(InputError, match="end with the assistant"):
        loaded.score([user("what is 1")])


def test_a_solution_longer_than_the_context_is_read_in_windows(trained: Path) -> None:
    loaded = load_reward_model(trained)
    assert isinstance(loaded, LoadedProcessRewardModel)
    steps = ["the sum 3 is big", "plus 4 is small"] * 15
    (found,) = loaded.score_steps([user("what is 1")], [steps])
    assert len(found) == 30
    assert all((value >= 0.5) == (place % 2 == 0) for place, value in enumerate(found[:4]))
    assert window_marks(10, [3, 9], 12) == [(0, 10, [3, 9])]
    windows = window_marks(40, [5, 11, 17, 30, 39], 16)
    assert [mark for _, _, marks in windows for mark in marks] == [5, 11, 17, 30, 39]
    for start, end, marks in windows:
        assert end - start <= 16 and all(start <= mark < end for mark in marks)
        assert all(mark - start >= 7 for mark in marks if start), "half a window of context"


def test_aggregates() -> None:
    assert aggregate([0.9, 0.5, 0.8], "min") == 0.5
    assert aggregate([0.9, 0.5, 0.8], "product") == pytest.approx(0.36)
    assert aggregate([0.9, 0.5, 0.8], "last") == 0.8
    assert split_steps("a\n\n\n\n b \n\n") == ["a", "b"] and split_steps(" ") == [""]


def test_process_bench_by_hand() -> None:
    probabilities = [[0.9, 0.2, 0.1], [0.9, 0.8], [0.9, 0.4], [0.3, 0.9], [0.6]]
    labels: list[list[bool | None]] = [[True, False, None], [True, True], [True, True], [True, False], [None]]
    figures = process_bench(probabilities, labels, 0.5)
    # judged steps: 2 + 2 + 2 + 2, wrong verdicts: 0, 0, 1, 2
    assert figures["steps"] == 8 and figures["step_accuracy"] == pytest.approx(5 / 8)
    assert figures["step_accuracy_wrong"] == pytest.approx(1 / 2)
    # first errors: row 0 found, row 3 called too early; right solutions: row 1 passed, row 2 not; row 4 is not known
    assert figures["error_accuracy"] == 0.5 and figures["correct_accuracy"] == 0.5 and figures["f1"] == 0.5
    assert figures["solutions"] == 4
    assert "f1" not in process_bench([[0.9]], [[True]], 0.5)


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        ({"prompt": "q", "completions": ["a", "b"], "labels": [True, False]}, [True, False]),
        ({"prompt": user("q"), "steps": ["a", "b"], "labels": [1, None]}, [True, None]),
        ({"problem": "q", "steps": ["a", "b", "c"], "label": 1}, [True, False, None]),
        ({"problem": "q", "steps": ["a", "b"], "label": -1}, [True, True]),
    ],
)
def test_stepwise_shapes(tmp_path: Path, write_rows: Any, row: dict[str, Any], labels: list[bool | None]) -> None:
    loaded = load_stepwise(str(write_rows(tmp_path / "a.jsonl", [row])))
    steps = row.get("steps") or row["completions"]
    assert loaded.rows == [{"prompt": user("q"), "steps": steps, "labels": labels}]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "completions": []}, "no steps"),
        ({"prompt": "q", "completions": ["a", " "], "labels": [True, True]}, "empty step"),
        ({"prompt": "q", "completions": ["a"], "labels": [True, True]}, "labels do not fit the steps"),
        ({"prompt": "q", "completions": ["a"], "labels": ["yes"]}, "unknown label"),
        ({"prompt": "q", "completions": ["a"], "labels": [None]}, "no labelled step"),
        ({"problem": "q", "steps": ["a"], "label": 1}, "label is no step"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, write_rows: Any, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(StageError, match=rf"a.jsonl:1: {reason}"):
        load_stepwise(str(write_rows(tmp_path / "a.jsonl", [row])))


def test_steps_that_do_not_fit_are_cut_or_left_out(tokenizer: Any) -> None:
    row = {"prompt": user("1"), "steps": ["the sum of the sum"] * 9, "labels": [True] * 9}
    whole, marks = ChatEncoder(tokenizer, 400).steps(row, "\n\n")
    encoder = ChatEncoder(tokenizer, 60)
    ids, kept = encoder.steps(row, "\n\n")
    assert ids == whole[: len(ids)] and kept == marks[: len(kept)] and ids[-2:] == whole[kept[-1] - 1 : kept[-1] + 1]
    assert encoder.truncated == 1 and len(ids) == kept[-1] + 1 <= 60 and 0 < len(kept) < 9
    unknown = {**row, "labels": [None] * 8 + [True]}
    long = {**row, "prompt": user("1" * 80)}
    for changed, message in ((unknown, "no labelled step within"), (long, "first step fill")):
        with pytest.raises(Exception, match=message):
            encoder.steps(changed, "\n\n")


def test_what_is_no_process_reward_model(trained: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="separator is empty"):
        from millbase.config import load_config

        load_config(PrmConfig, {"model": "m", "data": "d", "separator": ""}, [])
    folder = tmp_path / "process-reward-model"
    folder.mkdir()
    for file in (trained / "hf").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = json.loads((folder / "config.json").read_text())
    assert settings["step_separator"] == "\n\n" and settings["step_aggregate"] == "product"
