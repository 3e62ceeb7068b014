"""A judge's rankings as preference data, over a real socket and from a local checkpoint; critique and revision."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from millbase.artifacts import open_artifact, work_directory
from millbase.errors import ConfigError, StageError
from training.posttrain.data import load_instructions, load_preferences
from training.posttrain.feedback.config import ChatConfig, CritiqueConfig, FeedbackConfig, OnlineDpoConfig
from training.posttrain.feedback.critique import critique, is_faultless, read_principles
from training.posttrain.feedback.judges import LocalChat
from training.posttrain.feedback.online import train_online_dpo
from training.posttrain.feedback.rank import give_feedback


class Judge:
    """A server whose replies are a function of the last message; `dead` makes it fail after so many requests."""

    def __init__(self) -> None:
        self.function: Callable[[str], str] = lambda text: "Verdict: A"
        self.dead: int | None = None
        self.asked: list[str] = []
        lock, judge = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                text = body["messages"][-1]["content"]
                with lock:
                    judge.asked.append(text)
                    alive = judge.dead is None or len(judge.asked) <= judge.dead
                message = {"choices": [{"message": {"content": judge.function(text)}}]}
                content = json.dumps(message).encode() if alive else b"out of memory"
                self.send_response(200 if alive else 500)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def config(self, attempts: int = 1) -> dict[str, Any]:
        settings = {"url": self.url, "model": "judge", "attempts": attempts, "wait_seconds": 0.0}
        return {"server": settings}


@pytest.fixture
def judge() -> Iterator[Judge]:
    made = Judge()
    yield made
    made.server.shutdown()
    made.server.server_close()


def shown(text: str) -> tuple[str, str]:
    a = text.split("[Answer A]\n")[1].split("\n\n[Answer B]")[0]
    return a, text.split("[Answer B]\n")[1].split("\n\nGive your reason")[0]


def shorter_wins(text: str) -> str:
    a, b = shown(text)
    return f"Verdict: {'A' if (len(a), a) < (len(b), b) else 'B'}"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def make(sampling: dict[str, Any], server: Judge, /, **changes: Any) -> FeedbackConfig:
    return FeedbackConfig.model_validate({**sampling, "judge": server.config(), "require_end": False, **changes})


def test_a_judges_taste_becomes_preferences(sampling: dict[str, Any], judge: Judge, tmp_path: Path) -> None:
    judge.function = shorter_wins
    out = give_feedback(make(sampling, judge), tmp_path / "out")
    stats = open_artifact(out, kind="answers").stats
    assert stats["judge"]["position_bias"]["first_share"] == 0.5 and stats["judge"]["inconsistent"] == 0
    assert stats["judge"]["asked"] == len(judge.asked) == 2 * stats["judge"]["comparisons"]
    pairs = rows(out / "preferences.jsonl")
    assert len(pairs) == stats["pairs"] == 12
    for row, pair in zip(rows(out / "answers.jsonl"), pairs, strict=True):
        texts = {a["text"].strip() for a in row["answers"] if a["text"].strip()}
        order = sorted(texts, key=lambda text: (len(text), text))
        assert pair["chosen"][0]["content"].strip() == order[0]
        assert pair["rejected"][0]["content"].strip() == order[-1]
        strengths = {a["text"].strip(): a["score"] for a in row["answers"] if a["text"].strip()}
        expected = [1 - n / (len(order) - 1) for n in range(len(order))]
        assert [strengths[text] for text in order] == pytest.approx(expected)
    assert load_preferences(str(out / "preferences.jsonl")).stats["skipped"] == {}


def test_a_judge_with_a_bias_for_the_first_position(sampling: dict[str, Any], judge: Judge, tmp_path: Path) -> None:
    out = give_feedback(make(sampling, judge, limit=3), tmp_path / "out")
    stats = open_artifact(out).stats
    assert stats["pairs"] == 0, "what goes with the position is no preference"
    assert stats["judge"]["position_bias"]["first_share"] == 1.0
    assert stats["judge"]["inconsistent"] == stats["judge"]["comparisons"]


def test_a_server_that_dies_costs_nothing(sampling: dict[str, Any], judge: Judge, tmp_path: Path) -> None:
    judge.function = shorter_wins
    whole = give_feedback(make(sampling, judge), tmp_path / "whole")
    needed, judge.asked = len(judge.asked), []
    judge.dead = 70
    out = tmp_path / "out"
    with pytest.raises(StageError, match=r"no usable answer after 1 attempts .*the same command goes on from there"):
        give_feedback(make(sampling, judge), out)
    assert (work_directory(out) / "scratch" / "pieces" / "piece-00002.jsonl").is_file()
    judge.dead, judge.asked = None, []
    give_feedback(make(sampling, judge), out)
    assert len(judge.asked) == needed - 64
    assert open_artifact(out).digest == open_artifact(whole).digest


def test_nonsense_stops_the_stage(sampling: dict[str, Any], judge: Judge, tmp_path: Path) -> None:
    judge.function = lambda text: "As a language model I like both."
    with pytest.raises(StageError, match=r"no verdict on .* comparisons.*unreadable reply: As a language model"):
        give_feedback(make(sampling, judge, limit=2), tmp_path / "out")


def test_a_cache_is_shared_between_runs(sampling: dict[str, Any], judge: Judge, tmp_path: Path) -> None:
    judge.function = shorter_wins
    cached = {**judge.config(), "cache": str(tmp_path / "cache")}
    give_feedback(make(sampling, judge, judge=cached, limit=3), tmp_path / "one")
    judge.asked = []
    out = give_feedback(make(sampling, judge, judge=cached, limit=3, pairs="all"), tmp_path / "two")
    assert judge.asked == []
    assert open_artifact(out).stats["judge"]["asked"] == 0 < open_artifact(out).stats["judge"]["from_cache"]


def test_online_dpo_with_a_judge(sampling: dict[str, Any], judge: Judge, tmp_path: Path) -> None:
    """The judge's taste is learnt on: what it prefers is what is made more likely."""
    judge.function = shorter_wins
    values = {**sampling, "judge": judge.config(), "require_end": False, "updates": 2, "prompts_per_update": 6}
    config = OnlineDpoConfig.model_validate({**values, "learning_rate": 1e-3, "warmup_updates": 0, "sample_every": 1})
    out = train_online_dpo(config, tmp_path / "out")
    for line in rows(out / "samples.jsonl"):
        judged = {a["text"].strip(): a["score"] for a in line["answers"] if a["score"] is not None}
        order = sorted(judged, key=lambda text: (len(text), text))
        assert [judged[text] for text in order] == sorted(judged.values(), reverse=True)
    assert all(line["pairs"] > 0 for line in rows(out / "metrics.jsonl"))


def test_a_local_model_replies_as_its_greedy_generation(policy_folder: Path, tokenizer: Any) -> None:
    chat = LocalChat(str(policy_folder), torch.device("cpu"), 10, 4)
    asked = [[{"role": "user", "content": text}] for text in ("what is 1 plus 2", "please", "x" * 200, "<|pad|>")]
    replies = chat.reply(asked)
    for conversation, reply in zip(asked[:2], replies):
        ids = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
        made = chat.policy.model.generate(torch.tensor([ids]), max_new_tokens=10, do_sample=False)
        expected = tokenizer.decode(made[0][len(ids) :], skip_special_tokens=True).strip()
        assert reply.text == expected or (not expected and reply.error == "empty reply")
    assert "room for 118" in str(replies[2].error) and "special token <|pad|>" in str(replies[3].error)
    assert chat.identity != LocalChat(str(policy_folder), torch.device("cpu"), 11, 4).identity


def test_exactly_one_judge() -> None:
    with pytest.raises(ValueError, match="exactly one of server and model"):
        ChatConfig()


@pytest.fixture
def principles(tmp_path: Path) -> Path:
    path = tmp_path / "principles.yaml"
    path.write_text("- be short\n- principle: be kind\n")
    return path


def make_critique(sampling: dict[str, Any], judge: Judge, principles: Path, **changes: Any) -> CritiqueConfig:
    values = {**sampling, "samples": 1, "critic": judge.config(), "principles": str(principles), "require_end": False}
    return CritiqueConfig.model_validate({**values, **changes})


def section(text: str, name: str) -> str:
    return text.split(f"[{name}]\n")[1].split("\n\n")[0]


def editor(text: str) -> str:
    """Finds fault by `be short`, writes `short`, and judges the shorter the better."""
    if "[Answer A]" in text:
        return shorter_wins(text)
    if "[Critique]" in text:
        return "short\n"
    return "Too long." if "Principle: be short" in text else "No fault."


def test_revisions_become_training_data(
    sampling: dict[str, Any], judge: Judge, principles: Path, tmp_path: Path
) -> None:
    judge.function = editor
    out = critique(make_critique(sampling, judge, principles), tmp_path / "out")
    stats = open_artifact(out, kind="answers").stats
    cases = rows(out / "answers.jsonl")
    used = {case["steps"][0]["principle"] for case in cases if case["steps"]}
    assert used == {"be short", "be kind"}
    for case in cases:
        if case["left_out"] is None:
            short = case["steps"][0]["principle"] == "be short"
            assert case["final"] == ("short" if short else case["original"])
            assert ("revision" in case["steps"][0]) == short
    pairs = rows(out / "preferences.jsonl")
    assert len(pairs) == sum(case["left_out"] is None and case["final"] != case["original"] for case in cases) > 0
    assert all(pair["chosen"][0]["content"] == "short" for pair in pairs)
    originals = {case["original"] for case in cases}
    assert all(pair["rejected"][0]["content"] in originals for pair in pairs)
    assert len(rows(out / "instructions.jsonl")) == sum(case["left_out"] is None for case in cases)
    assert load_instructions(str(out / "instructions.jsonl")).stats["skipped"] == {}
    assert stats["check"]["wins"] == len(pairs)


def test_revisions_that_do_not_win_are_left_out(
    sampling: dict[str, Any], judge: Judge, principles: Path, tmp_path: Path
) -> None:
    judge.function = lambda text: "Verdict: tie" if "[Answer A]" in text else editor(text)
    out = critique(make_critique(sampling, judge, principles), tmp_path / "out")
    assert rows(out / "preferences.jsonl") == []
    assert open_artifact(out).stats["left_out"]["revision not better"] > 0


def test_rounds_build_on_one_another_and_survive_a_death(
    sampling: dict[str, Any], judge: Judge, principles: Path, tmp_path: Path
) -> None:
    def lengthen(text: str) -> str:
        return section(text, "Answer") + "+" if "[Critique]" in text else "More."

    judge.function = lengthen
    config = make_critique(sampling, judge, principles, rounds=2, check=None)
    whole = critique(config, tmp_path / "whole")
    for case in rows(whole / "answers.jsonl"):
        if case["left_out"] is None and "\n\n" not in case["original"]:
            assert case["final"] == case["original"] + "++"
    needed, judge.asked = len(judge.asked), []
    judge.dead = needed - 6
    with pytest.raises(StageError, match="no usable answer"):
        critique(config, tmp_path / "out")
    judge.dead = None
    critique(config, tmp_path / "out")
    assert open_artifact(tmp_path / "out").digest == open_artifact(whole).digest


def test_the_policy_is_its_own_critic(sampling: dict[str, Any], judge: Judge, principles: Path, tmp_path: Path) -> None:
    """A random model's context of 128 tokens holds no such question: every answer is lost, and the stage says why."""
    config = make_critique(sampling, judge, principles, critic=None, limit=3)
    with pytest.raises(StageError, match=r"no critique of 3 of 3 answers.*room for"):
        critique(config, tmp_path / "out")
    assert judge.asked == []


@pytest.mark.parametrize("text", ["", "be kind", "- 3", "- [a]", "a: b", "- 'x", "- ''"])
def test_principles_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"expected a list of texts|not YAML"):
        read_principles(str(path))


def test_shipped_principles(repository: Path) -> None:
    assert len(read_principles(str(repository / "configs" / "posttrain" / "principles.yaml"))) >= 5


@pytest.mark.parametrize(("text", "expected"), [("No fault.", True), ("**no fault**", True), ("No fault, but", False)])
def test_faultless(text: str, expected: bool) -> None:
    assert is_faultless(text) == expected
