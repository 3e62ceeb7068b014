"""Ranked lists of answers: the loss of a prompt's pairs, their weight, and how lists are read."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from millbase.artifacts import open_artifact
from millbase.errors import InputError, StageError
from millbase.metrics import read_metrics
from millbase.seeds import seed_everything
from training.load import load_reward_model
from training.posttrain.data import load_preferences, load_rankings
from training.posttrain.encode import ChatEncoder, encode_rows
from training.posttrain.model import load_start
from training.posttrain.reward import RewardConfig, train_reward
from training.posttrain.stages.reward import RewardTrainer, with_scalar_head

from .conftest import assistant, pairs, small_run, user
from .test_reward import rewards_by_hand

WORDS = ["sum", "big", "small", "please", "answer"]


def ranked(count: int) -> list[dict[str, Any]]:
    """Lists of three to five answers, every third with ranks that are not the order, with a tie."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        answers = [f"{word} is {number}" for word in WORDS[: 3 + number % 3]]
        row: dict[str, Any] = {"prompt": f"what is {number}", "answers": answers}
        if number % 3 == 0:
            row["ranks"] = [2, 1, 2]
        rows.append(row)
    return rows


def expected_pairs(row: dict[str, Any]) -> list[tuple[int, int]]:
    ranks = row.get("ranks") or list(range(len(row["answers"])))
    numbers = range(len(ranks))
    return [(i, j) for i, j in itertools.product(numbers, numbers) if ranks[i] < ranks[j]]


def test_a_prompt_counts_once_whatever_its_number_of_pairs(checkpoint: Path, tmp_path: Path, write_rows: Any) -> None:
    """InstructGPT's equation 1 over lists of 3 to 5 answers and plain pairs, in micro-batches of two prompts."""
    lists, plain = ranked(6), pairs(4, seed=8)
    data = write_rows(tmp_path / "ranked.jsonl", [*lists, *plain])
    settings = RewardConfig(
        **small_run(checkpoint, data, batch_size=10, micro_batch_size=2, max_steps=1, center_rewards=0.1)
    )
    out = train_reward(settings, tmp_path / "reward")
    seed_everything(settings.seed)
    start = with_scalar_head(load_start(settings))
    model = start.model.double().eval()

    def reward(prompt: str, answer: str) -> torch.Tensor:
        row = {"prompt": user(prompt), "answer": assistant(answer)}
        return rewards_by_hand(model, start.tokenizer, [row], "answer")[0]

    prompts = [
        (row["prompt"], [(row["answers"][i], row["answers"][j]) for i, j in expected_pairs(row)]) for row in lists
    ]
    for row in plain:
        prompts.append((row["prompt"][0]["content"], [(row["chosen"][0]["content"], row["rejected"][0]["content"])]))
    losses = []
    for prompt, texts in prompts:
        rewards = [(reward(prompt, better), reward(prompt, worse)) for better, worse in texts]
        terms = [-F.logsigmoid(better - worse) + 0.1 * (better + worse) ** 2 for better, worse in rewards]
        losses.append(sum(terms) / len(terms))
    line = read_metrics(out / "metrics.jsonl")[0]
    assert line["loss"] == pytest.approx(float(sum(losses)) / len(losses), rel=1e-5)
    assert open_artifact(out).stats["data"]["read"]["kept"] == 10


def test_every_answer_is_read_once_and_all_pairs_of_a_prompt_are_together(
    checkpoint: Path, tmp_path: Path, write_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    compute = RewardTrainer.compute_loss

    def count(self: Any, model: Any, inputs: Any, **rest: Any) -> Any:
        seen.append((len(inputs["input_ids"]), len(inputs["pairs"])))
        return compute(self, model, inputs, **rest)

    monkeypatch.setattr(RewardTrainer, "compute_loss", count)
    rows = [{"prompt": f"what is {n}", "answers": [f"{word} {n}" for word in WORDS[:4]]} for n in range(4)]
    data = write_rows(tmp_path / "ranked.jsonl", rows)
    settings = RewardConfig(**small_run(checkpoint, data, batch_size=4, micro_batch_size=2, max_steps=1, save_every=1))
    train_reward(settings, tmp_path / "reward")
    assert seen == [(8, 12), (8, 12)], "two prompts of four answers and six pairs"


def test_lists_are_learned_and_heldout_lists_are_kept(checkpoint: Path, tmp_path: Path, write_rows: Any) -> None:
    rows = [
        {"prompt": f"what is {n}", "answers": [f"please sum {n}", f"sum {n}", f"small {n}", f"sum of small {n}"]}
        for n in range(60)
    ]
    data = write_rows(tmp_path / "ranked.jsonl", rows)
    settings = small_run(checkpoint, data, batch_size=8, max_steps=30, log_every=10, save_every=30, learning_rate=3e-3)
    out = train_reward(RewardConfig(**settings, eval_share=0.2), tmp_path / "reward")
    assert open_artifact(out).stats["final"]["val_accuracy"] >= 0.9
    # held-out lists are written as their pairs, for evaluation and other stages
    held = load_rankings(str(out / "heldout.jsonl.gz")).rows
    assert held and len(held) == 6 * open_artifact(out).stats["eval_data"]["held_out"]
    better, worse = (
        load_reward_model(out).score([r["prompt"] + r[side] for r in held]) for side in ("chosen", "rejected")
    )
    right = sum(left > other for left, other in zip(better, worse, strict=True)) / len(held)
    assert right == pytest.approx(open_artifact(out).stats["final"]["val_accuracy"], abs=1e-5)


def test_how_lists_are_read(tmp_path: Path, write_rows: Any) -> None:
    row = {"prompt": "q", "answers": ["a", "b", "c"], "ranks": [2, 1, 2]}
    data = str(write_rows(tmp_path / "a.jsonl", [row, {"prompt": "q", "answers": ["a", "b"]}]))
    (first, second) = load_rankings(data).rows
    assert first == {"prompt": user("q"), "answers": [assistant(x) for x in "abc"], "ranks": [2, 1, 2]}
    assert second == {"prompt": user("q"), "chosen": assistant("a"), "rejected": assistant("b")}
    as_pairs = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in load_preferences(data).rows]
    assert as_pairs == [("b", "a"), ("b", "c"), ("a", "b")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "answers": ["a"]}, "fewer than two answers"),
        ({"prompt": "q", "answers": ["a", "b", "c"], "ranks": [1, 2]}, "ranks do not fit the answers"),
        ({"prompt": "q", "answers": ["a", "b", "c"], "ranks": [1, 1, 1]}, "no pair"),
        ({"prompt": "q", "answers": ["a", "a"]}, "chosen equals rejected"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, write_rows: Any, row: dict[str, Any], reason: str) -> None:
    for load in (load_rankings, load_preferences):
        with pytest.raises(StageError, match=reason):
            load(str(write_rows(tmp_path / "a.jsonl", [row])))


def test_answers_that_a_cut_makes_equal_make_no_pair(tokenizer: Any) -> None:
    same = "the sum of " * 30
    row = {"prompt": user("1"), "answers": [assistant(same + "3"), assistant(same), assistant("4")], "ranks": [1, 2, 3]}
    encoder = ChatEncoder(tokenizer, max_length=40)
    answers, found = encoder.scored_answers(row)
    assert [len(ids) for ids in answers][:2] == [40, 40] and found == [[0, 2], [1, 2]] and encoder.truncated == 2
    with pytest.raises(InputError, match="answers equal once cut"):
        encode_rows(
            encoder, lambda r: {"x": encoder.scored_answers(r)}, [{**row, "answers": row["answers"][:2]}], 0, "x"
        )
