"""Rejection sampling from end to end: what is written, where it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from millbase.artifacts import open_artifact, work_directory
from millbase.errors import ConfigError, StageError
from training.load import load_reward_model
from training.posttrain.data import load_instructions, load_preferences
from training.posttrain.feedback.config import RejectConfig
from training.posttrain.feedback.reject import reject


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="session")
def make(sampling: dict[str, Any], rewards_file: Path) -> Any:
    def build(**changes: Any) -> RejectConfig:
        reward = {"functions": [f"{rewards_file}:vowels"]}
        return RejectConfig.model_validate({**sampling, "reward": reward, "pairs": "best_worst", **changes})

    return build


@pytest.fixture(scope="module")
def whole(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reject(make(), tmp_path_factory.mktemp("whole") / "out")


def test_what_is_written(whole: Path) -> None:
    answered = rows(whole / "answers.jsonl")
    stats = open_artifact(whole, kind="answers").stats
    assert stats["prompts"]["answered"] == len(answered) == 12 and stats["prompts"]["repeated"] == 1
    assert all(len(row["answers"]) == 4 for row in answered)
    assert any(answer["finished"] for row in answered for answer in row["answers"])
    for row in answered:
        for answer in row["answers"]:
            assert answer["score"] == sum(x in "aeiou" for x in answer["text"]) / 10
    best = {
        json.dumps(row["prompt"]): max(a["score"] for a in row["answers"] if a["finished"] and a["text"].strip())
        for row in answered
        if any(a["finished"] and a["text"].strip() for a in row["answers"])
    }
    kept = rows(whole / "instructions.jsonl")
    assert len(kept) == len(best) == stats["instructions"] > 3
    assert all(row["score"] == best[json.dumps(row["messages"][:-1])] for row in kept)
    assert all(row["answer"].isdigit() for row in kept), "other columns are kept"
    pairs = rows(whole / "preferences.jsonl")
    assert len(pairs) == stats["pairs"] > 3
    assert all(pair["score_chosen"] > pair["score_rejected"] for pair in pairs)
    means = [one["score"] for one in stats["best_of"]]
    assert means == sorted(means) and means[0] < means[-1]


def test_the_other_stages_read_it(whole: Path) -> None:
    instructions = load_instructions(str(whole / "instructions.jsonl"))
    assert instructions.stats["skipped"] == {} and instructions.rows[0]["messages"][-1]["role"] == "assistant"
    pairs = load_preferences(str(whole / "preferences.jsonl"))
    assert pairs.stats["skipped"] == {} and set(pairs.rows[0]) == {"prompt", "chosen", "rejected"}


KILLED = """
import json, os, signal, sys
from training.posttrain.feedback import answers, reject
from training.posttrain.feedback.config import RejectConfig

written = answers.write_jsonl
def write(path, rows):
    if path.name == "piece-00002.jsonl":
        os.kill(os.getpid(), signal.SIGKILL)
    written(path, rows)
answers.write_jsonl = write
reject.reject(RejectConfig.model_validate_json(open(sys.argv[1]).read()), sys.argv[2])
"""


def test_killed_and_started_again(
    make: Any, whole: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = make(), tmp_path / "out"
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [sys.executable, "-c", KILLED, str(tmp_path / "config.json"), str(out)]
    died = subprocess.run(command, cwd=repository, capture_output=True, text=True, env={**os.environ})
    assert died.returncode == -signal.SIGKILL, died.stderr
    pieces = sorted(file.name for file in (work_directory(out) / "scratch" / "pieces").glob("*.jsonl"))
    assert pieces == ["piece-00000.jsonl", "piece-00001.jsonl"]
    sampled: list[int] = []
    from training.posttrain.feedback.answers import Writer

    original = Writer.answer

    def answer(self: Writer, number: int, prompts: Any) -> Any:
        sampled.append(number)
        return original(self, number, prompts)

    monkeypatch.setattr(Writer, "answer", answer)
    reject(config, out)
    assert sampled == [2], "finished pieces are not sampled again"
    for name in ("answers.jsonl", "instructions.jsonl", "preferences.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert open_artifact(out).digest == open_artifact(whole).digest


def test_scores_of_a_reward_model_beside_a_function(
    make: Any, reward_folder: Path, rewards_file: Path, tmp_path: Path
) -> None:
    reward = {
        "model": str(reward_folder),
        "model_weight": 2.0,
        "functions": [f"{rewards_file}:shorter"],
        "function_weights": [3.0],
        "verifiable": [{"check": "numeric", "weight": 5.0}],
    }
    out = reject(make(reward=reward, limit=3, pairs="none"), tmp_path / "out")
    assert not (out / "preferences.jsonl").exists()
    model = load_reward_model(reward_folder, device="cpu")
    for row in rows(out / "answers.jsonl"):
        for answer in row["answers"]:
            (alone,) = model.score([[*row["prompt"], {"role": "assistant", "content": answer["text"]}]])
            assert answer["sources"]["reward_model"] == pytest.approx(alone, abs=1e-5)
            assert answer["sources"]["shorter"] == -len(answer["text"]) / 100
            total = 2 * alone + 3 * answer["sources"]["shorter"] + 5 * answer["sources"]["numeric"]
            assert answer["score"] == pytest.approx(total, abs=1e-4)


def test_blocks_of_prompts_do_not_overlap(make: Any, tmp_path: Path) -> None:
    seen = []
    for block in (1, 2, 3):
        out = reject(make(limit=4, block=block, samples=1, pairs="none", require_end=False), tmp_path / str(block))
        seen.append({row["prompt"][0]["content"] for row in rows(out / "answers.jsonl")})
    assert len(set.union(*seen)) == 12 or sum(map(len, seen)) == 11  # the repeated prompt may fall into two blocks
    with pytest.raises(ConfigError, match="block = 2 needs limit"):
        reject(make(block=2), tmp_path / "no")


def test_a_source_that_fails(make: Any, rewards_file: Path, tmp_path: Path) -> None:
    reward = {"functions": [f"{rewards_file}:picky"]}
    with pytest.raises(StageError, match="'picky' returned nan"):
        reject(make(reward=reward), tmp_path / "stop")
    with pytest.raises(StageError, match=r"answers have no score, more than reward.max_error_share = 0.1; the first"):
        reject(make(reward={**reward, "on_error": "skip"}), tmp_path / "many")
    out = reject(make(reward={**reward, "on_error": "skip", "max_error_share": 1.0}), tmp_path / "skip")
    answers = [answer for row in rows(out / "answers.jsonl") for answer in row["answers"]]
    assert all((answer["score"] is None) == ("e" in answer["text"]) for answer in answers)
    failed = [answer for answer in answers if answer["score"] is None]
    assert failed and "picky: reward function 'picky' returned nan" in failed[0]["error"]
    assert open_artifact(out).stats["without_score"] == len(failed)


def test_nothing_to_keep(make: Any, tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"none of 12 prompts has an answer to keep: .*min_score is 100; lower min_score"
    ):
        reject(make(min_score=100, pairs="none"), tmp_path / "out")
    with pytest.raises(ConfigError, match="leaves no room for a prompt"):
        reject(make(max_new_tokens=128), tmp_path / "long")
