"""Rewards for the form of a text: `format`, `contains`, `instructions`, `length`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import regex

from millbase.verify.ifeval import check_instructions
from training.posttrain.verifiable.config import ContainsReward, FormatReward, InstructionsReward, LengthReward

Rows = Sequence[Mapping[str, Any]]


def score_format(config: FormatReward, texts: Sequence[str], rows: Rows) -> list[float]:
    """1 where the expression matches. ValueError where it takes too long: some expressions explode on some texts."""
    pattern = regex.compile(config.pattern, regex.DOTALL)
    scores = []
    for text in texts:
        try:
            if config.whole:
                found = pattern.fullmatch(text.strip(), timeout=config.timeout_seconds)
            else:
                found = pattern.search(text, timeout=config.timeout_seconds)
        except TimeoutError:
            raise ValueError(
                f"pattern {config.pattern!r} took more than {config.timeout_seconds} s on a text of {len(text)} "
                "characters; write it without nested repetitions"
            ) from None
        scores.append(float(found is not None))
    return scores


def score_contains(config: ContainsReward, texts: Sequence[str], rows: Rows) -> list[float]:
    """1 where an answer occurs as whole words. ValueError where a row has none."""
    scores = []
    for text, row in zip(texts, rows, strict=True):
        value = row.get(config.column)
        answers = [str(one).strip() for one in (value if isinstance(value, list) else [value]) if one is not None]
        if not answers or not all(answers):
            raise ValueError(f"the prompt row's {config.column!r} is {value!r}; expected a text or a list of texts")
        scores.append(float(any(regex.search(rf"(?i)(?<!\w){regex.escape(one)}(?!\w)", text) for one in answers)))
    return scores


def score_instructions(config: InstructionsReward, texts: Sequence[str], rows: Rows) -> list[float]:
    """1 or 0, or the share of instructions followed. ValueError where a row has no instructions."""
    scores = []
    for text, row in zip(texts, rows, strict=True):
        if config.instructions:
            names, arguments = list(config.instructions), list(config.instructions.values())
        else:
            names, arguments = _of_row(row)
        verdict = check_instructions(text, names, arguments, as_reference=False)
        followed = verdict.loose if config.loose else verdict.strict
        scores.append(float(all(followed)) if config.score == "all" else sum(followed) / len(followed))
    return scores


def _of_row(row: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    names, arguments = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(names, list) or not names:
        raise ValueError(f"the prompt row's 'instruction_id_list' is {names!r}; expected a list of IFEval's names")
    given = arguments if isinstance(arguments, list) else [{}] * len(names)
    return names, given


def score_length(config: LengthReward, texts: Sequence[str], rows: Rows) -> list[float]:
    """0 within the bounds, falling to -1 over the margin outside them."""
    scores = []
    for text in texts:
        length = len(text.split()) if config.unit == "words" else len(text)
        below = 0 if config.minimum is None else config.minimum - length
        above = 0 if config.maximum is None else length - config.maximum
        excess = max(below, above, 0)
        scores.append(-min(1.0, excess / config.margin) if config.margin else -float(excess > 0))
    return scores
