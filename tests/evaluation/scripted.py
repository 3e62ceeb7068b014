"""A judge whose replies are a function of the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from millbase.judge.chat import Conversation, Reply


class Scripted:
    """A chat that answers by a function of the first message."""

    identity = "scripted"

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[Reply]:
        self.asked += [one[-1]["content"] for one in conversations]
        return [Reply(self.answer(one[0]["content"])) for one in conversations]
