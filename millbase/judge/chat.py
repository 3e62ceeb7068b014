"""What a judge must be able to do, reply to conversations; and a cache of replies by the digest of what was asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from millbase.hashing import value_digest
from millbase.progress import progress

Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant", "content": text}`."""
Conversation = list[Message]

CACHE = "replies.sqlite"
BATCH = 64
"""Replies asked for between two writes of the cache: what a kill can cost."""


@dataclass(frozen=True)
class Reply:
    """A reply, or why there is none."""

    text: str | None
    error: str | None = None
    """Set when this one conversation could not be answered: refused, too long, empty."""


class Chat(Protocol):
    """Something that replies to conversations."""

    @property
    def identity(self) -> str:
        """Everything that the replies depend on beside the conversation: a key of the cache."""
        ...

    def reply(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """One reply per conversation, in their order.

        Raises StageError when nothing can be answered (the server is down).
        """
        ...


class CachedChat:
    """A chat whose replies are kept in `folder/replies.sqlite` under a digest of identity and conversation.

    Failed replies are not kept. Equal conversations of one call are asked once. Two processes may share a folder.
    """

    def __init__(self, chat: Chat, folder: str | Path) -> None:
        self.chat = chat
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(Path(folder) / CACHE, timeout=60.0)
        with self._database:
            self._database.execute("create table if not exists replies (key text primary key, text text not null)")
        self.hits = 0
        """Replies that were found."""
        self.asked = 0
        """Replies that were asked for."""

    @property
    def identity(self) -> str:
        return self.chat.identity

    def reply(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Replies from the cache or from the chat; what is new is kept after every few dozen."""
        keys = [value_digest([self.identity, conversation]) for conversation in conversations]
        found = {key: Reply(text) for key in dict.fromkeys(keys) if (text := self._look_up(key)) is not None}
        missing = {key: conversation for key, conversation in zip(keys, conversations) if key not in found}
        self.hits += sum(key in found for key in keys)
        self.asked += len(missing)
        wanted = list(missing)
        with progress("judge", total=len(wanted), unit="replies") as bar:
            for start in range(0, len(wanted), BATCH):
                part = wanted[start : start + BATCH]
                replies = self.chat.reply([missing[key] for key in part])
                found.update(zip(part, replies, strict=True))
                self._keep([(key, reply.text) for key, reply in zip(part, replies) if reply.text is not None])
                bar.advance(len(part))
        return [found[key] for key in keys]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _look_up(self, key: str) -> str | None:
        row = self._database.execute("select text from replies where key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _keep(self, replies: list[tuple[str, str | None]]) -> None:
        with self._database:
            self._database.executemany("insert or ignore into replies values (?, ?)", replies)
