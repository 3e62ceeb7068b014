"""A judge model as a chat: a server's, or a checkpoint in this process, with its replies kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluation.generate import generate, room_for_prompt
from evaluation.judge_config import JudgeModelConfig
from evaluation.records import prompt_ids
from millbase.judge.chat import CachedChat, Chat, Conversation, Reply
from millbase.judge.server import ServerChat

if TYPE_CHECKING:
    from training.load import LoadedModel


class LocalChat:
    """A language model with a chat template that replies greedily."""

    def __init__(self, loaded: LoadedModel, *, max_new_tokens: int, batch_size: int) -> None:
        """ConfigError when `max_new_tokens` leaves no room for a question."""
        self.loaded = loaded
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self._room = room_for_prompt(loaded.max_length, max_new_tokens, str(loaded.path))

    @property
    def identity(self) -> str:
        return f"{self.loaded.digest} {self.loaded.model.dtype} {self.max_new_tokens}"

    def reply(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """One reply per conversation; one that does not fit is not cut, for half a question gets half a verdict."""
        where = str(self.loaded.path)
        rows = [prompt_ids(self.loaded.tokenizer, list(one), where) for one in conversations]
        fits = [i for i, row in enumerate(rows) if len(row) <= self._room]
        found = generate(
            self.loaded,
            [rows[i] for i in fits],
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            description="judging",
        )
        replies = [
            Reply(None, f"the question has {len(row)} tokens, and {where!r} has room for {self._room}") for row in rows
        ]
        for i, completion in zip(fits, found, strict=True):
            replies[i] = Reply(completion.text)
        return replies


def make_chat(config: JudgeModelConfig, *, dtype: str, device: str | None, batch_size: int) -> Chat:
    """The judge of a configuration. ConfigError when it cannot be asked at all."""
    chat: Chat
    if config.server is not None:
        chat = ServerChat(config.server)
    else:
        from training.load import load_model

        assert config.model is not None, "the configuration holds exactly one judge"
        loaded = load_model(config.model, dtype=dtype, device=device)
        chat = LocalChat(loaded, max_new_tokens=config.max_new_tokens, batch_size=batch_size)
    return chat if config.cache is None else CachedChat(chat, config.cache)
