"""Models that are talked to: a server, or a checkpoint in this process, with a cache of what they said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from millbase.errors import ConfigError
from millbase.judge.chat import CachedChat, Chat, Conversation, Reply
from millbase.judge.server import ServerChat
from training.load import load_model
from training.posttrain.feedback.config import ChatConfig
from training.posttrain.ppo.models import Policy, check_head, end_of_turn_ids, prepare
from training.posttrain.ppo.sampling import sample

_GREEDY = 1e-6
"""At this temperature only the likeliest token is ever drawn."""


class LocalChat:
    """A checkpoint as a chat: greedy replies through its own chat template."""

    def __init__(self, path: str, device: torch.device, max_new_tokens: int, batch_size: int) -> None:
        """UserError when the model does not load."""
        loaded = load_model(path, device=device)
        self.tokenizer: Any = loaded.tokenizer
        if self.tokenizer.chat_template is None:
            raise ConfigError(f"{path!r} has no chat template and cannot be talked to; give a model that has one")
        self.policy = Policy(prepare(loaded.model, False), end_of_turn_ids(loaded))
        check_head(self.policy)
        self.digest, self.longest = loaded.digest, loaded.max_length
        self.max_new_tokens, self.batch_size = max_new_tokens, batch_size

    @property
    def identity(self) -> str:
        return json.dumps(["local", self.digest, self.max_new_tokens])

    def reply(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """One reply per conversation; none where it does not fit into the context or holds special tokens."""
        replies: list[Reply] = [Reply(None, "not asked")] * len(conversations)
        rows: dict[int, list[int]] = {}
        for i, conversation in enumerate(conversations):
            tokens = self._encode(conversation)
            if isinstance(tokens, str):
                replies[i] = Reply(None, tokens)
            else:
                rows[i] = tokens
        noise = torch.full((len(rows), self.max_new_tokens), 0.5, dtype=torch.float64)
        drawn = sample(self.policy, list(rows.values()), noise, _GREEDY, self.batch_size) if rows else []
        for i, one in zip(rows, drawn, strict=True):
            text = self.tokenizer.decode(one.tokens, skip_special_tokens=True).strip()
            replies[i] = Reply(text) if text else Reply(None, "empty reply")
        return replies

    def _encode(self, conversation: Conversation) -> list[int] | str:
        """Token ids, or why there are none."""
        for message in conversation:
            for token in self.tokenizer.all_special_tokens:
                if token in message["content"]:
                    return f"the text holds the special token {token}"
        text = self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        room = self.longest - self.max_new_tokens
        if len(tokens) > room:
            return f"the question has {len(tokens)} tokens, the model has room for {room}"
        return tokens


def open_chat(config: ChatConfig, scratch: Path, device: torch.device) -> CachedChat:
    """The chat of a configuration, its replies kept in `config.cache` or `scratch`."""
    chat: Chat
    if config.server is not None:
        chat = ServerChat(config.server)
    else:
        assert config.model is not None, "the configuration holds exactly one of server and model"
        chat = LocalChat(config.model, device, config.max_new_tokens, config.batch_size)
    return CachedChat(chat, config.cache or scratch / "replies")
