"""What counts as a verdict, what two orders make of it, and rankings, all worked by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import rankdata

from millbase.errors import ConfigError, StageError
from millbase.judge.chat import Conversation, Reply
from millbase.judge.config import JudgeConfig
from millbase.judge.pairwise import Comparison, compare, position_bias, summary
from millbase.judge.parse import read_ranking, read_verdict
from millbase.judge.prompts import fill, list_question, pair_question, prompt_text
from millbase.judge.ranking import Candidates, copeland, rank


class FakeChat:
    """A chat that is a function of the conversation's text."""

    identity = "fake"

    def __init__(self, function: Callable[[str], str | None]) -> None:
        self.function = function
        self.asked: list[Conversation] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[Reply]:
        self.asked += list(conversations)
        texts = [self.function(one[-1]["content"]) for one in conversations]
        return [Reply(text) if text is not None else Reply(None, "refused") for text in texts]


def shown(text: str) -> tuple[str, str]:
    """The two answers in the order the question shows them."""
    a = text.split("[Answer A]\n")[1].split("\n\n[Answer B]")[0]
    return a, text.split("[Answer B]\n")[1].split("\n\nGive your reason")[0]


def longer_wins(text: str) -> str:
    a, b = shown(text)
    return "Verdict: tie" if len(a) == len(b) else f"Because.\nVerdict: {'A' if len(a) > len(b) else 'B'}"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Verdict: A", "A"),
        ("Both are fine, but B adds a source.\n\n**Verdict:** B.", "B"),
        ("**Verdict: A**", "A"),
        ("verdict : [[B]]", "B"),
        ("Verdict: Answer A", "A"),
        ("Verdict: tie", "tie"),
        ("[[C]]", "tie"),
        ("Verdict: A\nOn reflection:\nVerdict: B", "B"),
        ("b", "B"),
        ("A is better because B is wrong", None),
        ("Verdict: A or B", None),
        ("Verdict:", None),
        ("I cannot decide.", None),
        ("", None),
    ],
)
def test_verdicts(reply: str, expected: str | None) -> None:
    assert read_verdict(reply) == expected


def test_a_tie_that_was_not_offered_is_no_verdict() -> None:
    assert read_verdict("Verdict: tie", allow_tie=False) is None
    question = pair_question("p", "x", "y", "c", False, None)[0]["content"]
    assert question.endswith("Verdict: A or Verdict: B")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Ranking: 2 > 1 > 3", [2.0, 1.0, 3.0]),
        ("Reasons.\n**Ranking:** 3, 1, 2", [2.0, 3.0, 1.0]),
        ("ranking: [3 > 2 = 1].", [2.5, 2.5, 1.0]),
        ("1 2 3", [1.0, 2.0, 3.0]),
        ("Ranking: 1 > 2", None),
        ("Ranking: 1 > 2 > 2", None),
        ("Ranking: 1 > 2 > 4", None),
        ("Answer 2 is best, then 1, then 3", None),
    ],
)
def test_rankings(reply: str, expected: list[float] | None) -> None:
    assert read_ranking(reply, 3) == expected


def test_ties_share_ranks_as_in_scipy() -> None:
    assert read_ranking("Ranking: 4 = 1 > 5 = 3 = 2", 5) == rankdata([1, 2, 2, 1, 2]).tolist()


def test_braces_in_answers_are_text() -> None:
    assert fill("{a}-{b}-{c}", {"a": "{b}", "b": "{a}"}) == "{b}-{a}-{c}"
    assert "{criterion}" in pair_question("{criterion}", "x", "y", "be good", True, None)[0]["content"]
    assert prompt_text([{"role": "user", "content": "hi"}]) == "hi"
    several = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert prompt_text(several) == "system: s\n\nuser: u"


def test_a_consistent_judge_in_both_orders() -> None:
    pairs = [Comparison("p", "long answer", "short"), Comparison("p", "a", "bb"), Comparison("p", "aa", "bb")]
    verdicts = compare(FakeChat(longer_wins), pairs, JudgeConfig())
    assert [one.outcome for one in verdicts] == [1.0, 0.0, 0.5]
    assert all(one.consistent for one in verdicts)
    assert position_bias(verdicts) == {
        "comparisons": 3,
        "first_share": 0.5,
        "inconsistent_share": 0.0,
        "for_first": 0,
        "for_second": 0,
    }


def test_a_judge_that_always_takes_the_first() -> None:
    pairs = [Comparison("p", "x", "y"), Comparison("q", "x", "y")]
    verdicts = compare(FakeChat(lambda text: "Verdict: A"), pairs, JudgeConfig())
    assert [one.outcome for one in verdicts] == [0.5, 0.5]
    found = summary(verdicts)
    assert (found["ties"], found["inconsistent"]) == (2, 2)
    assert found["position_bias"]["first_share"] == 1.0 and found["position_bias"]["for_first"] == 2
    dropped = compare(FakeChat(lambda text: "Verdict: A"), pairs, JudgeConfig(disagreement="drop"))
    assert [(one.outcome, one.reason) for one in dropped] == [(None, "inconsistent")] * 2


def test_a_tie_beside_a_win_is_the_win() -> None:
    def leaning(text: str) -> str:
        return "Verdict: tie" if shown(text)[0] == "x" else "Verdict: B"

    verdicts = compare(FakeChat(leaning), [Comparison("p", "x", "y")], JudgeConfig())
    assert verdicts[0].outcome == 1.0 and not verdicts[0].consistent


def test_equal_answers_are_not_asked_about() -> None:
    chat = FakeChat(longer_wins)
    assert compare(chat, [Comparison("p", "same", " same\n")], JudgeConfig())[0].outcome == 0.5
    assert chat.asked == []


def test_one_order_does_not_depend_on_who_is_ours() -> None:
    seen: list[tuple[str, str]] = []

    def remember(text: str) -> str:
        seen.append(shown(text))
        return "Verdict: A"

    config = JudgeConfig(orders="one")
    outcomes = []
    for n in range(40):
        forth, back = (Comparison(str(n), *pair) for pair in (("x", "y"), ("y", "x")))
        outcomes += [one.outcome for one in compare(FakeChat(remember), [forth, back], config)]
    assert seen[::2] == seen[1::2]
    assert 8 < sum(pair == ("x", "y") for pair in seen[::2]) < 32
    assert all(a + b == 1 for a, b in zip(outcomes[::2], outcomes[1::2]) if a is not None and b is not None)


def test_an_unreadable_reply_is_followed_by_a_reminder() -> None:
    chat = FakeChat(lambda text: "Verdict: B" if text.startswith("Write one line") else "Hard to say.")
    verdicts = compare(chat, [Comparison("p", "x", "y")], JudgeConfig(orders="one"))
    assert verdicts[0].sides == ("B",)
    again = chat.asked[1]
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert again[1]["content"] == "Hard to say."


def test_too_many_unreadable_replies_stop_the_stage() -> None:
    pairs = [Comparison(str(n), "x", "y") for n in range(10)]

    def sometimes(text: str) -> str | None:
        return "Hm." if "[Prompt]\n7\n" in text or text.startswith("Write") else "Verdict: A"

    with pytest.raises(StageError, match=r"no verdict on 1 of 10 comparisons.*unreadable reply: Hm"):
        compare(FakeChat(sometimes), pairs, JudgeConfig())
    verdicts = compare(FakeChat(sometimes), pairs, JudgeConfig(max_failed_share=0.1))
    assert [one.outcome is None for one in verdicts] == [n == 7 for n in range(10)]
    assert summary(verdicts)["failed"] == 1


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "question.txt"
    path.write_text("{prompt}|{a}|{b}|{criterion}")
    chat = FakeChat(lambda text: "A")
    compare(chat, [Comparison("p", "x", "y")], JudgeConfig(template=str(path), criterion="k"))
    assert [one[0]["content"] for one in chat.asked] == ["p|x|y|k", "p|y|x|k"]
    path.write_text("{prompt} {a}")
    with pytest.raises(ConfigError, match=r"lacks \{b\}"):
        compare(chat, [Comparison("p", "x", "y")], JudgeConfig(template=str(path)))


def test_copeland_by_hand() -> None:
    outcomes = {(0, 1): 1.0, (0, 2): 0.5, (1, 2): None}
    assert copeland(3, outcomes) == [0.75, 0.0, 0.5]
    assert copeland(3, {(0, 1): 1.0, (0, 2): None, (1, 2): None}) is None


def test_ranking_by_pairs() -> None:
    items = [Candidates("p", ["aa", "a", "aaaa", "bb"])]
    rankings, stats = rank(FakeChat(longer_wins), items, JudgeConfig())
    strengths = rankings[0].strengths
    assert strengths == pytest.approx([0.5, 0.0, 1.0, 0.5])
    assert (stats["comparisons"], stats["ties"], stats["intransitive"]) == (6, 1, 0)


def test_a_judge_that_goes_in_circles_is_counted() -> None:
    beats = {("a", "b"), ("b", "c"), ("c", "a")}

    def circle(text: str) -> str:
        return f"Verdict: {'A' if shown(text) in beats else 'B'}"

    rankings, stats = rank(FakeChat(circle), [Candidates("p", ["a", "b", "c"])], JudgeConfig())
    assert rankings[0].strengths == [0.5, 0.5, 0.5]
    assert stats["intransitive"] == 1


def listed(text: str) -> list[str]:
    parts = text.split("[Answer ")[1:]
    return [part.split("]\n")[1].split("\n")[0] for part in parts]


def test_ranking_by_lists() -> None:
    def by_length(text: str) -> str:
        answers = listed(text)
        order = sorted(range(len(answers)), key=lambda i: -len(answers[i]))
        return "Ranking: " + " > ".join(str(i + 1) for i in order)

    config = JudgeConfig(ranking="list")
    rankings, stats = rank(FakeChat(by_length), [Candidates("p", ["aa", "a", "aaaa"])], config)
    assert rankings[0].strengths == [0.5, 0.0, 1.0]
    assert stats["position_bias"] == {"mean_rank_of_first": 1.5, "middle_rank": 2.0, "inconsistent_share": 0.0}
    biased, stats = rank(FakeChat(lambda text: "Ranking: 1 > 2 > 3"), [Candidates("p", ["a", "b", "c"])], config)
    assert biased[0].strengths == [0.5, 0.5, 0.5]
    assert stats["position_bias"]["mean_rank_of_first"] == 1.0 and stats["position_bias"]["inconsistent_share"] == 1.0
    text = list_question("p", ["x", "y"], "c")[0]["content"]
    assert "rank 2 answers" in text and text.endswith("Ranking: 2 > 1")


def test_a_list_without_a_ranking_has_no_strengths() -> None:
    def half(text: str) -> str | None:
        return None if "\nq\n" in text else "Ranking: 2 > 1"

    items = [Candidates("p", ["a", "b"]), Candidates("q", ["a", "b"])]
    config: Any = {"ranking": "list", "max_failed_share": 0.5}
    rankings, stats = rank(FakeChat(half), items, JudgeConfig(**config))
    assert rankings[1].strengths is None and rankings[1].reason == "refused" and stats["failed"] == 1
    with pytest.raises(StageError, match="1 of 2 rankings"):
        rank(FakeChat(half), items, JudgeConfig(ranking="list"))
