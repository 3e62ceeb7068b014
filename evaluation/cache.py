"""Answers that a checkpoint has given before, kept in one SQLite file and shared by any number of runs at once.

An answer is found again by everything that decides it: the checkpoint's digest, its type and context, the task and its
version, the kind of request, the prompt (and continuation), the generation settings, the random stream. lm-eval's own
cache looks at the request alone and gives one model's answers to another.

SQLite's write-ahead log makes each batch of answers appear whole or not at all; its locks are the kernel's and go with
the process that held them, so a killed run leaves neither a half-written answer nor a lock behind. The file must lie on
a local disk: network file systems do not share the log's memory.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from millbase.errors import InputError
from millbase.hashing import value_digest

FILE = "answers.sqlite"
_SCHEMA = 1
_PATIENCE_SECONDS = 120.0
_AT_ONCE = 500


class AnswerCache:
    """A folder of remembered answers."""

    def __init__(self, folder: str | Path) -> None:
        """Open or make it. InputError when the folder cannot be written or holds something else under that name."""
        self.path = Path(folder) / FILE
        self.hits = 0
        """Answers found since it was opened."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=_PATIENCE_SECONDS, isolation_level=None)
            self._begin()
        except (OSError, sqlite3.DatabaseError) as error:
            raise InputError(f"cache {str(folder)!r} cannot be used: {error}; give a folder on a local disk") from None

    def _begin(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:  # changing the journal's mode does not wait for other connections by itself
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=NORMAL")
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
                )
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """Those of the answers that are known."""
        found: dict[str, Any] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part)
            found |= {key: json.loads(value) for key, value in rows}
        return found

    def put(self, answers: dict[str, Any]) -> None:
        """Remember answers, all together or, when killed, none. The first answer to a question stays."""
        rows = [(key, json.dumps(value, ensure_ascii=False)) for key, value in answers.items()]
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def fill(self, keys: Sequence[str], compute: Callable[[list[int]], list[Any]]) -> list[Any]:
        """The answer to each key; `compute` gets the positions of those that are not known, and answers in order."""
        known = self.get(list(dict.fromkeys(keys)))
        missing = [i for i, key in enumerate(keys) if key not in known]
        self.hits += len(keys) - len(missing)
        if missing:
            # through JSON, so that a fresh answer is the very value a later run will read
            fresh = {keys[i]: json.loads(json.dumps(value)) for i, value in zip(missing, compute(missing), strict=True)}
            self.put(fresh)
            known |= fresh
        return [known[key] for key in keys]


def answer_key(model: dict[str, Any], task: tuple[str, str], kind: str, prompt: Any, settings: Any) -> str:
    """What an answer is found by.

    Args:
        model: digest, engine, dtype and context of the checkpoint.
        task: name and version.
        kind: lm-eval's type of request.
        prompt: the texts of the request.
        settings: generation settings and random stream; None for log-likelihoods.
    """
    return value_digest([_SCHEMA, model, list(task), kind, prompt, settings])
