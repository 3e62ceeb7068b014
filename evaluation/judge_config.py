"""A model that judges: behind a server or in this process, how it is asked, and where its replies are kept."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from millbase.config import Config
from millbase.judge.config import JudgeConfig
from millbase.judge.config import ServerConfig as JudgeServerConfig


class JudgeModelConfig(Config):
    """A judge model. Replies without a readable verdict are counted; too many stop the block (`asking`)."""

    server: JudgeServerConfig | None = None
    """An OpenAI-compatible server."""
    model: str | None = None
    """A chat checkpoint, run in this process."""
    max_new_tokens: int = Field(default=256, gt=0)
    """Longest reply of `model`, in tokens; the server has its own `max_tokens`."""
    asking: JudgeConfig = JudgeConfig()
    """Orders, ties, unreadable replies."""
    cache: str | None = None
    """Folder in which replies are kept: the same question to the same judge is asked once, also by later runs."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.server is None) == (self.model is None):
            raise ValueError("give exactly one judge: server or model")
        return self
