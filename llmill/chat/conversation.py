"""The turns of a conversation, and which of them the model sees: whole turns, the newest that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from millbase.errors import InputError

Message = dict[str, str]


@dataclass
class ChatOptions:
    """How to answer."""

    system: str | None = None
    temperature: float = 0.7
    """0 takes the likeliest token each time."""
    top_p: float = 0.95
    max_new_tokens: int = 256
    seed: int = 0


@dataclass
class Conversation:
    """A system message and turns; a turn is a user's message and the answer to it."""

    system: str | None = None
    messages: list[Message] = field(default_factory=list)

    def ask(self, text: str) -> None:
        """Add the user's message."""
        self.messages.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """Add the model's answer."""
        self.messages.append({"role": "assistant", "content": text})

    def take_back(self) -> None:
        """Forget a message that was not answered."""
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages.pop()

    def reset(self) -> None:
        """Forget all turns; the system message stays."""
        self.messages.clear()

    def visible(self, count_tokens: Callable[[list[Message]], int], room: int) -> tuple[list[Message], int]:
        """The messages to send: the system message and the newest whole turns within ``room`` tokens.

        Returns them and the number of older turns left out. InputError when the newest message alone does not fit.
        """
        first = [{"role": "system", "content": self.system}] if self.system else []
        turns = _turns(self.messages)
        for dropped in range(len(turns)):
            messages = first + [message for turn in turns[dropped:] for message in turn]
            if count_tokens(messages) <= room:
                return messages, dropped
        newest = count_tokens(first + turns[-1])
        raise InputError(
            f"the message has {newest} tokens with its template, the model has room for {room}; shorten it"
        )


def _turns(messages: list[Message]) -> list[list[Message]]:
    turns: list[list[Message]] = []
    for message in messages:
        if message["role"] == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns
