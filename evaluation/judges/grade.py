"""A judge model grades one answer from 1 to 10, given the conversation it stands in.

The question is MT-bench's single-answer grading (Zheng et al. 2023, arXiv:2306.05685, figures 6 and 8) in our words,
with a good answer to go by where there is one. The policy for replies: the last `Rating: N` (or `[[N]]`, as MT-bench's
judges write) counts; a number outside 1 to 10, or none, is no rating, and the judge is reminded of the format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.judge_config import JudgeModelConfig
from evaluation.records import Message
from millbase.judge.ask import Answer, Question, ask, check_failures
from millbase.judge.chat import Chat
from millbase.judge.prompts import fill

LOWEST, HIGHEST = 1.0, 10.0
QUESTION = """Grade the last answer of the conversation below, from 1 (useless or wrong) to 10 (as good as can be).

Consider whether it is correct, does what the user asked, fits what was said before, and is no longer than it needs to \
be. Do not let length or style sway you.
{reference}
[Conversation]
{conversation}

[Answer to grade]
{answer}

Give your reason in one or two sentences. Then write, alone on the last line: Rating: N"""
REFERENCE = """
[A good answer, to go by]
{reference}
"""
REMINDER = "Write one line and nothing else, N a number from 1 to 10: Rating: N"

_MARKED = re.compile(r"rating\W*?:\W*(\d+(?:\.\d+)?)(?!\d)(?:\s*/\s*10\b)?|\[\[(\d+(?:\.\d+)?)\]\]", re.IGNORECASE)


@dataclass(frozen=True)
class Graded:
    """An answer to grade."""

    conversation: list[Message]
    """All before the answer."""
    answer: str
    reference: str | None
    """A good answer, if one is known."""


def read_rating(reply: str) -> float | None:
    """The rating of a reply, or None."""
    found = _MARKED.findall(reply)
    if not found:
        return None
    value = float(found[-1][0] or found[-1][1])
    return value if LOWEST <= value <= HIGHEST else None


def grade(chat: Chat, answers: Sequence[Graded], config: JudgeModelConfig) -> list[Answer[float]]:
    """A rating per answer. StageError when too many have none (`asking.max_failed_share`)."""
    questions = [Question([{"role": "user", "content": _text(one)}], read_rating, REMINDER) for one in answers]
    found = ask(chat, questions, config.asking.ask_again)
    errors = [answer.error or "no rating" for answer in found if answer.value is None]
    check_failures(errors, len(answers), config.asking.max_failed_share, "answers")
    return found


def _text(one: Graded) -> str:
    said = "\n\n".join(f"{message['role']}: {message['content']}" for message in one.conversation)
    reference = "" if one.reference is None else fill(REFERENCE, {"reference": one.reference})
    return fill(QUESTION, {"reference": reference, "conversation": said, "answer": one.answer})
