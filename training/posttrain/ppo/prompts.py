"""Prompts: tokenised once, then dealt to rollouts in an order that is a pure function of the seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from millbase.errors import InputError
from millbase.log import get_logger
from millbase.seeds import derive_seed
from training.posttrain.data import load_prompts

logger = get_logger(__name__)


@dataclass(frozen=True)
class Prompt:
    """A prompt, its token ids (the chat template's generation prompt included), and the row's other columns."""

    messages: list[dict[str, Any]]
    tokens: list[int]
    columns: dict[str, Any]


class PromptSet:
    """Prompts in an endless shuffled order: each pass over them has its own permutation."""

    def __init__(self, prompts: list[Prompt], seed: int, stats: dict[str, Any] | None = None) -> None:
        self.prompts, self.seed, self.stats = prompts, seed, stats or {}
        self._order = lru_cache(maxsize=2)(self._permutation)

    def take(self, start: int, count: int) -> list[Prompt]:
        """Prompts number `start` to `start + count` of the endless order."""
        size = len(self.prompts)
        return [self.prompts[self._order(n // size)[n % size]] for n in range(start, start + count)]

    def _permutation(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "prompts", epoch))
        return torch.randperm(len(self.prompts), generator=generator).tolist()


def read_prompts(patterns: str | list[str], tokenizer: Any, max_length: int, seed: int) -> PromptSet:
    """Read prompt files and tokenise them; prompts of more than `max_length` tokens are left out and counted.

    Raises InputError when none is left, and what `load_prompts` raises.
    """
    loaded = load_prompts(patterns)
    # special tokens written in a prompt's text would become real ones, and could forge a turn
    rows = [row for row in loaded.rows if not _holds_special(row["prompt"], tokenizer.all_special_tokens)]
    texts = [tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True) for row in rows]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    prompts = [
        Prompt(row["prompt"], tokens, {name: value for name, value in row.items() if name != "prompt"})
        for row, tokens in zip(rows, encoded)
        if len(tokens) <= max_length
    ]
    left_out = {"special_tokens": len(loaded.rows) - len(rows), "too_long": len(rows) - len(prompts)}
    if not prompts:
        raise InputError(
            f"none of the {len(loaded.rows)} prompts of {patterns!r} can be used ({left_out}; the shortest has "
            f"{min(map(len, encoded), default=0)} tokens, {max_length} are allowed); raise max_prompt_length"
        )
    for reason, count in left_out.items():
        if count:
            logger.warning("left out %d of %d prompts: %s", count, len(loaded.rows), reason.replace("_", " "))
    return PromptSet(prompts, seed, {**loaded.stats, "left_out": left_out, "used": len(prompts)})


def _holds_special(messages: list[dict[str, Any]], special: list[str]) -> bool:
    return any(token in message["content"] for message in messages for token in special)
