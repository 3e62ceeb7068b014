"""One logger for all of llmill: short lines on stderr, level from ``LLMILL_LOG`` (default INFO)."""

from __future__ import annotations

import logging
import os
import sys

_ROOT = "llmill"


class _CurrentStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever ``sys.stderr`` is now, so that redirection and test capture work."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; pass ``__name__``."""
    root = logging.getLogger(_ROOT)
    if not root.handlers:
        handler = _CurrentStderr()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(handler)
        root.setLevel(os.environ.get("LLMILL_LOG", "INFO").upper())
        root.propagate = False
    short = name.rsplit(".", 1)[-1] if name != "__main__" else "main"
    return root.getChild(short)
