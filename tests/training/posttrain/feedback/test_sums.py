"""The small world of sums: its truth, its mistakes, and that nothing held out is ever trained on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from millbase.artifacts import open_artifact
from training.load import load_model
from training.posttrain.data import load_instructions, load_preferences, load_prompts
from training.posttrain.feedback.sums import SumsConfig, answer, build_sums, mistake


def small(**changes: Any) -> SumsConfig:
    values = {"largest": 49, "heldout": 100, "pretraining": 400, "instructions": 200, "preferences": 200}
    return SumsConfig.model_validate({**values, "hidden_size": 16, "layers": 1, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sums(small(), tmp_path_factory.mktemp("world") / "sums")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def right(question: str) -> int:
    a, b = map(int, re.findall(r"\d+", question))
    return a + b


def said(messages: list[dict[str, str]]) -> int:
    return int(re.findall(r"\d+", messages[-1]["content"])[-1])


def test_answers_by_hand() -> None:
    assert answer((47, 38), "direct") == "85"
    assert answer((47, 38), "steps") == "7+8=15 4+3+1=8 85"
    assert answer((62, 42), "steps") == "2+2=4 6+4=10 104"
    assert answer((62, 42), "steps", 99) == "2+2=4 6+4=10 99"


def test_mistakes_are_wrong_and_positive() -> None:
    random = Random(0)
    for a in range(10, 60, 7):
        for b in range(10, 60, 3):
            wrong = mistake((a, b), random)
            assert wrong != a + b and wrong > 0 and abs(wrong - a - b) <= 20


def test_the_shares_of_mistakes(world: Path) -> None:
    wild = rows(world / "pretrain.jsonl")
    wrong = sum(said(row["messages"]) != right(row["messages"][0]["content"]) for row in wild)
    assert 0.13 < wrong / len(wild) < 0.27
    taught = rows(world / "instructions.jsonl")
    assert all(said(row["messages"]) == right(row["messages"][0]["content"]) for row in taught)
    for name, low, high in (("train", 0.01, 0.12), ("heldout", 0.0, 0.0)):
        pairs = rows(world / "preferences" / f"{name}.jsonl")
        flipped = sum(said(pair["rejected"]) == right(pair["prompt"][0]["content"]) for pair in pairs)
        assert low <= flipped / len(pairs) <= high
        correct = sum(said(pair["chosen"]) == right(pair["prompt"][0]["content"]) for pair in pairs)
        assert correct + flipped == len(pairs), "one side of every pair is right"
    assert all(int(row["answer"]) == right(row["prompt"][0]["content"]) for row in rows(world / "prompts/train.jsonl"))


def test_held_out_problems_are_nowhere_else(world: Path) -> None:
    def questions(name: str) -> set[str]:
        return {(row.get("messages") or row["prompt"])[0]["content"] for row in rows(world / name)}

    heldout = questions("prompts/heldout.jsonl")
    assert len(heldout) == 100 and questions("preferences/heldout.jsonl") <= heldout
    assert {row["question"] for row in rows(world / "tasks/sums.jsonl")} == heldout
    for name in ("pretrain.jsonl", "instructions.jsonl", "prompts/train.jsonl", "preferences/train.jsonl"):
        assert not questions(name) & heldout


def test_every_stage_reads_it(world: Path) -> None:
    assert load_instructions(str(world / "pretrain.jsonl")).stats["skipped"] == {}
    assert load_preferences(str(world / "preferences" / "train.jsonl")).stats["skipped"] == {}
    assert load_prompts(str(world / "prompts" / "train.jsonl")).stats["kept"] == 40 * 40 - 100
    loaded = load_model(world / "base", device="cpu")
    tokenizer: Any = loaded.tokenizer
    conversation = [{"role": "user", "content": "12+34="}, {"role": "assistant", "content": "46"}]
    assert tokenizer.apply_chat_template(conversation, tokenize=False) == "12+34=46<|im_end|>"
    encoded = tokenizer.apply_chat_template(conversation, return_dict=True, return_assistant_tokens_mask=True)
    assert sum(encoded["assistant_masks"]) == 3, "two digits and the end of the turn"
    assert tokenizer.decode(encoded["input_ids"]) == "12+34=46<|im_end|>"


def test_the_same_seed_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    again = build_sums(small(), tmp_path / "again")
    assert open_artifact(again).digest == open_artifact(world).digest
    other = build_sums(small(seed=1), tmp_path / "other")
    assert open_artifact(other).digest != open_artifact(world).digest


def test_mixed_answers_show_the_working_in_the_stated_shares(tmp_path: Path) -> None:
    world = build_sums(small(style="mixed", instructions=1000, preferences=1000), tmp_path / "world")

    def worked(messages: list[dict[str, str]]) -> bool:
        return "=" in messages[-1]["content"]

    taught = rows(world / "instructions.jsonl")
    assert 0.54 < sum(worked(row["messages"]) for row in taught) / len(taught) < 0.66
    pairs = rows(world / "preferences" / "train.jsonl")
    assert 0.68 < sum(worked(pair["chosen"]) for pair in pairs) / len(pairs) < 0.79
    assert 0.21 < sum(worked(pair["rejected"]) for pair in pairs) / len(pairs) < 0.32


def test_labelled_steps(tmp_path: Path) -> None:
    world = build_sums(small(style="steps"), tmp_path / "world")
    found = rows(world / "steps" / "train.jsonl")
    for row in found:
        a, b = map(int, re.findall(r"\d+", row["prompt"][0]["content"]))
        true = answer((a, b), "steps").split(" ")
        first_wrong = next((n for n, (said, step) in enumerate(zip(row["completions"], true)) if said != step), 3)
        assert row["labels"] == [n < first_wrong for n in range(3)]
    assert {sum(row["labels"]) for row in found} == {0, 1, 2, 3}
    assert (world / "steps/heldout.jsonl").read_text() != (world / "steps/train.jsonl").read_text()


def test_too_much_held_out() -> None:
    with pytest.raises(ValueError, match="heldout = 900 is more than half of the 1600 problems"):
        small(heldout=900)
