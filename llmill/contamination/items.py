"""The texts of an evaluation's items, as the corpus would hold them."""

from __future__ import annotations

from typing import Any

from evaluation.scores import Item, Score


def item_text(item: Item, score: Score) -> str:
    """The question as asked, without worked examples before it, and the answer where it is text; or nothing."""
    prompt = item.get("prompt")
    parts = [_own_part(prompt, score)] if isinstance(prompt, str) else []
    for field in ("target", "answer"):
        if isinstance(item.get(field), str):
            parts.append(item[field])
    return " ".join(part.strip() for part in parts if part.strip())


def _own_part(prompt: str, score: Score) -> str:
    shots: Any = score.details.get("num_fewshot")
    return prompt.rsplit("\n\n", 1)[-1] if shots else prompt
