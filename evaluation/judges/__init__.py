"""Judges: given a prompt and a response, one number; the response with the higher number wins, equal numbers tie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from evaluation.records import Prompt


class Judge(Protocol):
    """What the win rate asks."""

    name: str

    @property
    def needs_answer(self) -> bool:
        """Whether prompts must come with the right answer."""

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """One number per prompt and its response."""


def outcome(ours: float, theirs: float) -> float:
    """1 for a win, 0.5 for a tie, 0 for a loss."""
    return 1.0 if ours > theirs else 0.0 if ours < theirs else 0.5
