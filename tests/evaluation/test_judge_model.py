"""A judge model in the win rate: both orders, ties, unreadable replies, a checkpoint as a judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evaluation.judges.model
from evaluation import statistics
from evaluation.config import EvaluationConfig, WinRateConfig
from evaluation.judge_config import JudgeModelConfig
from evaluation.judges.grade import Graded, grade, read_rating
from evaluation.judges.model import LocalChat, make_chat
from evaluation.responses import Responses
from evaluation.scores import BlockResult
from evaluation.win_rate import run_win_rate
from millbase.errors import ConfigError, StageError
from millbase.judge.chat import Conversation
from tests.evaluation.scripted import Scripted
from training.load import LoadedModel


def shown(question: str) -> tuple[str, str]:
    """The two answers of a question of ours, in the order they stand."""
    first, second = question.split("[Answer A]\n")[1].split("\n\n[Answer B]\n")
    return first, second.split("\n\nGive your reason")[0]


def longer(question: str) -> str:
    a, b = shown(question)
    return f"Verdict: {'A' if len(a) > len(b) else 'B' if len(b) > len(a) else 'tie'}"


@pytest.fixture
def judged(
    monkeypatch: pytest.MonkeyPatch, loaded: LoadedModel, other_loaded: LoadedModel, web: Path
) -> Callable[..., BlockResult]:
    def run(chat: Scripted, **asking: Any) -> BlockResult:
        monkeypatch.setattr(evaluation.judges.model, "make_chat", lambda *_, **__: chat)
        block = WinRateConfig.model_validate(
            {
                "prompts": str(web / "prompts" / "heldout.jsonl"),
                "sampling": {"max_new_tokens": 12},
                "judge_model": {"model": "unused", "asking": asking},
            }
        )
        config = EvaluationConfig(model="m", reference="r", win_rate=block, device="cpu")
        return run_win_rate(loaded, other_loaded, block, config, Responses(0, 8))

    return run


def test_a_consistent_judge_is_believed(judged: Callable[..., BlockResult]) -> None:
    result = judged(Scripted(longer))
    items = result.items["items/win_rate.jsonl"]
    for item in items:
        a, b = len(item["response"]), len(item["reference_response"])
        assert item["scores"]["win_rate"] == (1.0 if a > b else 0.0 if a < b else 0.5)
    score = result.scores[0]
    assert score.value == sum(item["scores"]["win_rate"] for item in items) / 20
    assert score.ci95 == pytest.approx(statistics.wilson(score.value, 20))
    assert score.details["judge"] == "judge_model"
    assert score.details["verdicts"]["position_bias"]["first_share"] == 0.5
    # every pair that can be asked is asked in both orders
    assert all(item["ours_first"] in ([True, False], (True, False)) for item in items if item["sides"])


def test_a_judge_of_positions_says_nothing(judged: Callable[..., BlockResult]) -> None:
    result = judged(Scripted(lambda _: "I like the first. Verdict: A"))
    score = result.scores[0]
    assert score.value == 0.5 and score.details["ties"] == 20
    assert score.details["verdicts"]["position_bias"]["first_share"] == 1.0
    assert result.comparisons[0].verdict == "no difference"


def test_verdicts_that_disagree_can_be_left_out(judged: Callable[..., BlockResult]) -> None:
    def fickle(question: str) -> str:
        return longer(question) if "(1)" in question or "(2)" in question else "Verdict: A"

    result = judged(Scripted(fickle), disagreement="drop")
    items = result.items["items/win_rate.jsonl"]
    counted = [item for item in items if "win_rate" in item["scores"]]
    assert 2 <= len(counted) < 20 and result.scores[0].n == len(counted)
    assert {item["why"] for item in items if item not in counted} == {"inconsistent"}


def test_a_judge_that_talks_nonsense_stops_the_block(judged: Callable[..., BlockResult]) -> None:
    with pytest.raises(StageError, match=r"no verdict on 20 of 20 comparisons.*unreadable reply: bananas"):
        judged(Scripted(lambda _: "bananas"))


def test_a_few_unreadable_replies_are_counted(judged: Callable[..., BlockResult]) -> None:
    chat = Scripted(lambda question: "hm" if "(3)" in question else longer(question))
    result = judged(chat, max_failed_share=0.1, ask_again=1)
    items = result.items["items/win_rate.jsonl"]
    assert result.scores[0].n == 19 and result.scores[0].details["verdicts"]["failed"] == 1
    assert items[3]["scores"] == {} and "unreadable" in items[3]["why"]
    assert sum("Write one line" in question for question in chat.asked) == 2  # reminded once in each order


def test_a_checkpoint_can_be_asked(loaded: LoadedModel, checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    config = JudgeModelConfig(model=str(checkpoints[0]), max_new_tokens=6, cache=str(tmp_path))
    chat = make_chat(config, dtype="float32", device="cpu", batch_size=4)
    short: Conversation = [{"role": "user", "content": "Who?"}]
    replies = chat.reply([short, [{"role": "user", "content": "Who? " * 90}], short])
    assert replies[0].text is not None and replies[0] == replies[2]
    assert replies[1].text is None and "has room for 90" in str(replies[1].error)
    assert (tmp_path / "replies.sqlite").is_file()
    with pytest.raises(ConfigError, match="leave room"):
        LocalChat(loaded, max_new_tokens=96, batch_size=4)


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Good.\nRating: 7", 7.0),
        ("**Rating:** 8.5/10", 8.5),
        ("Rating: 3\nOn reflection, Rating: 4", 4.0),
        ("Clear and right. [[9]]", 9.0),
        ("Rating: 11", None),
        ("Rating: 0", None),
        ("Rating: high", None),
        ("7 out of 10", None),
        ("", None),
    ],
)
def test_ratings_are_read_by_a_stated_rule(reply: str, rating: float | None) -> None:
    assert read_rating(reply) == rating


def test_a_grader_sees_the_conversation_and_the_good_answer() -> None:
    chat = Scripted(lambda question: "Rating: 9" if "[A good answer, to go by]\nfour" in question else "Rating: 2")
    said = [{"role": "user", "content": "What is {answer} 2 + 2?"}]
    config = JudgeModelConfig(model="x")
    found = grade(chat, [Graded(said, "4", "four"), Graded(said, "5", None)], config)
    assert [answer.value for answer in found] == [9.0, 2.0]
    assert "user: What is {answer} 2 + 2?" in chat.asked[0]
    with pytest.raises(StageError, match="no verdict on 1 of 1 answers"):
        grade(Scripted(lambda _: "fine"), [Graded(said, "4", None)], config)


def test_exactly_one_judge(web: Path) -> None:
    with pytest.raises(ValueError, match="exactly one judge"):
        WinRateConfig.model_validate({"prompts": "p", "rule": "r", "judge_model": {"model": "m"}})
    with pytest.raises(ValueError, match="server or model"):
        JudgeModelConfig.model_validate({})
