"""Rewards for mathematical answers: `numeric` and `maths`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from millbase.verify.maths import equal_answers, extract_answer, gsm8k_flexible, parse_number
from training.posttrain.verifiable.config import MathsReward, NumericReward

Rows = Sequence[Mapping[str, Any]]


def score_numeric(config: NumericReward, texts: Sequence[str], rows: Rows) -> list[float]:
    """1 for the right number, 0 for another or none. ValueError where the right answer is not a number."""
    scores = []
    for text, row in zip(texts, rows, strict=True):
        gold = right_answer(row, config.column)
        wanted = parse_number(gold)
        if wanted is None:
            raise ValueError(f"the right answer {gold!r} in column {config.column!r} is not a number; use check: maths")
        given = _answer(text, config.extract) or (gsm8k_flexible(text) if config.extract == "auto" else None)
        found = None if given is None else parse_number(given)
        scores.append(float(found is not None and _close(found, wanted, config.tolerance)))
    return scores


def score_maths(config: MathsReward, texts: Sequence[str], rows: Rows) -> list[float]:
    """1 for an answer equal to the right one, 0 for another or none."""
    scores = []
    for text, row in zip(texts, rows, strict=True):
        gold = right_answer(row, config.column)
        given = _answer(text, config.extract) or (text.strip() if config.extract == "auto" else None)
        scores.append(float(given is not None and equal_answers(gold, given, config.timeout_seconds)))
    return scores


def right_answer(row: Mapping[str, Any], column: str) -> str:
    """The answer that a row's column gives, taken out of a whole solution. ValueError where there is none."""
    value = row.get(column)
    text = "" if value is None else str(value).strip()
    if not text:
        raise ValueError(f"the prompt row has no {column!r} to compare with")
    return extract_answer(text) or text


def _answer(text: str, extract: str) -> str | None:
    return text.strip() or None if extract == "whole" else extract_answer(text)


def _close(found: Fraction, wanted: Fraction, tolerance: float) -> bool:
    if found == wanted or round(found, 6) == round(wanted, 6):
        return True
    return abs(found - wanted) <= Fraction(tolerance) * abs(wanted)
