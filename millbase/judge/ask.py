"""Asking a chat questions whose replies must be readable: a reply that is not is answered with a reminder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from millbase.errors import StageError
from millbase.judge.chat import Chat, Conversation

T = TypeVar("T")


@dataclass(frozen=True)
class Question(Generic[T]):
    """A conversation and how its reply is read (None: not readable)."""

    conversation: Conversation
    read: Callable[[str], T | None]
    reminder: str


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a reply said, or why nothing could be read."""

    value: T | None
    reply: str | None
    error: str | None


def ask(chat: Chat, questions: Sequence[Question[T]], again: int) -> list[Answer[T]]:
    """An answer per question; unreadable replies are followed by the reminder up to `again` times.

    Raises StageError when the chat cannot answer at all.
    """
    conversations = [list(question.conversation) for question in questions]
    answers: list[Answer[T]] = [Answer(None, None, "not asked")] * len(questions)
    waiting = list(range(len(questions)))
    for _ in range(again + 1):
        replies = chat.reply([conversations[i] for i in waiting])
        unread = []
        for i, reply in zip(waiting, replies, strict=True):
            if reply.text is None:
                answers[i] = Answer(None, None, reply.error or "no reply")
                continue
            value = questions[i].read(reply.text)
            if value is not None:
                answers[i] = Answer(value, reply.text, None)
                continue
            answers[i] = Answer(None, reply.text, f"unreadable reply: {short(reply.text)}")
            conversations[i] += [
                {"role": "assistant", "content": reply.text},
                {"role": "user", "content": questions[i].reminder},
            ]
            unread.append(i)
        waiting = unread
        if not waiting:
            break
    return answers


def check_failures(errors: Sequence[str], total: int, share: float, what: str) -> None:
    """StageError when more than `share` of `total` questions failed, with the first reason."""
    if len(errors) > share * total:
        raise StageError(
            f"the judge gave no verdict on {len(errors)} of {total} {what}, more than max_failed_share = {share:g}; "
            f"the first: {errors[0]}; try another judge or template, or raise ask_again. What was answered is kept"
        )


def short(text: str, limit: int = 120) -> str:
    """`text` on one line, cut at `limit` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit]}..."
