"""Solutions whose steps are labelled right or wrong, from the shapes data sets use.

    load_stepwise("steps.jsonl").rows[0]   # {"prompt": [...], "steps": ["...", ...], "labels": [True, False, None]}

Accepted: `prompt`, `completions` (or `steps`) and `labels`, one of true, false, 1, 0 or null a step (null: not known,
not trained on); ProcessBench's `problem`, `steps` and `label`, the index of the first wrong step or -1 (what follows it
is not known).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from training.posttrain.data import MAX_BAD_SHARE, Loaded, Row, prompt_messages, read_normalised
from training.posttrain.messages import Message, to_messages
from training.posttrain.rows import RowError

STEPWISE = "prompt, completions (a list of steps) and labels (one a step), or problem, steps and label"


def load_stepwise(patterns: str | Sequence[str], max_bad_share: float = MAX_BAD_SHARE) -> Loaded:
    """Solutions `{"prompt": messages, "steps": [text], "labels": [bool or None]}`.

    Raises InputError (nothing matches, nothing usable) and StageError (too many bad rows).
    """
    return read_normalised(patterns, _stepwise, STEPWISE, max_bad_share, "solutions")


def first_error(labels: Sequence[bool | None]) -> int | None:
    """Index of the first wrong step, -1 where all are right, None where the labels do not say."""
    for place, label in enumerate(labels):
        if label is None:
            return None
        if not label:
            return place
    return -1


def _stepwise(raw: Row) -> Iterator[Row | RowError]:
    steps = raw.get("steps") if raw.get("steps") is not None else raw.get("completions")
    if not isinstance(steps, list) or not steps:
        raise RowError("no steps", "completions must be a list of at least one step")
    for step in steps:
        if not isinstance(step, str) or not step.strip():
            raise RowError("empty step", f"every step must be text, found {step!r}")
    labels = _labels(raw, len(steps))
    if all(label is None for label in labels):
        raise RowError("no labelled step", "every label is null")
    yield {"prompt": _problem(raw), "steps": steps, "labels": labels}


def _problem(raw: Row) -> list[Message]:
    if isinstance(raw.get("problem"), str):
        return to_messages(raw["problem"], "user")
    return prompt_messages(raw)


def _labels(raw: Row, count: int) -> list[bool | None]:
    if raw.get("labels") is None and isinstance(raw.get("label"), int):
        first = raw["label"]
        if isinstance(first, bool) or not -1 <= first < count:
            raise RowError("label is no step", f"label is {first!r}; expected -1 or the index of one of {count} steps")
        return [True] * count if first < 0 else [True] * first + [False] + [None] * (count - first - 1)
    labels = raw.get("labels")
    if not isinstance(labels, list) or len(labels) != count:
        found: Any = len(labels) if isinstance(labels, list) else type(labels).__name__
        raise RowError("labels do not fit the steps", f"expected a list of {count} labels, found {found}")
    known: list[bool | None] = []
    for label in labels:
        if label is not None and label not in (True, False):  # 1 and 0 are equal to them
            raise RowError("unknown label", f"{label!r}; expected true, false or null")
        known.append(None if label is None else bool(label))
    return known
