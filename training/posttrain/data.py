"""Instructions, preferences and prompts, read from files of any of the accepted shapes and made one shape each.

    load_instructions(["alpaca/*.jsonl.gz"]).rows[0]   # {"messages": [{"role": "user", "content": ...}, ...]}
    load_preferences("pairs.parquet").rows[0]          # {"prompt": [...], "chosen": [...], "rejected": [...]}
    load_prompts("prompts.jsonl").rows[0]              # {"prompt": [...], "answer": ..., every other column}

A row that cannot be used is counted with its reason and skipped; more than `max_bad_share` of them stop the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from millbase.files import glob_files
from training.posttrain.messages import Message, to_messages, transcript
from training.posttrain.rows import RowError, Tally, read_rows

Row = dict[str, Any]

MAX_BAD_SHARE = 0.05
"""More bad rows than one in twenty are no accident but a wrong file or format."""

INSTRUCTIONS = "messages, or prompt and completion, or instruction (with input) and output"
PREFERENCES = "prompt, chosen and rejected, or prompt and answers ranked best first"
LABELLED = "prompt, completion and label (true or false); or " + PREFERENCES
PROMPTS = "prompt (text or messages), or instruction (with input)"


@dataclass(frozen=True)
class Loaded:
    """Normalised rows and the account of how they were read."""

    rows: list[Row]
    stats: dict[str, Any]
    """`{"read": rows, "kept": rows, "skipped": {reason: rows}}`."""


def load_instructions(patterns: str | Sequence[str], max_bad_share: float = MAX_BAD_SHARE) -> Loaded:
    """Conversations to imitate, each `{"messages": [...]}` and ending with the assistant.

    Raises InputError (nothing matches, nothing usable) and StageError (too many bad rows).
    """
    return read_normalised(patterns, _instruction, INSTRUCTIONS, max_bad_share, "instructions")


def load_preferences(patterns: str | Sequence[str], max_bad_share: float = MAX_BAD_SHARE) -> Loaded:
    """Pairs `{"prompt", "chosen", "rejected"}` of message lists, with `margin` where the data has one.

    K ranked answers give the K(K-1)/2 pairs of Ouyang et al. 2022, section 3.5, less those of equal `ranks`. Raises as
    `load_instructions`.
    """
    return read_normalised(patterns, _preferences, PREFERENCES, max_bad_share, "preferences")


def load_rankings(patterns: str | Sequence[str], max_bad_share: float = MAX_BAD_SHARE) -> Loaded:
    """As `load_preferences`, with K > 2 ranked answers to a prompt left together: `{"prompt", "answers", "ranks"}`.

    `answers` are message lists and `ranks` numbers, the lowest the best; equal ones make no pair (`ranked_pairs`).
    """
    return read_normalised(patterns, _ranking, PREFERENCES, max_bad_share, "preferences")


def load_labelled(patterns: str | Sequence[str], max_bad_share: float = MAX_BAD_SHARE) -> Loaded:
    """Single answers `{"prompt", "completion", "label"}`, each desirable (true) or not; a pair gives one of both.

    Raises as `load_instructions`.
    """
    return read_normalised(patterns, _labelled, LABELLED, max_bad_share, "labelled answers")


def load_prompts(patterns: str | Sequence[str], max_bad_share: float = MAX_BAD_SHARE) -> Loaded:
    """Prompts `{"prompt": [...]}` to answer, other columns (`answer`, `task`, ...) kept.

    Raises as `load_instructions`.
    """
    return read_normalised(patterns, _prompt, PROMPTS, max_bad_share, "prompts")


def read_normalised(
    patterns: str | Sequence[str],
    normalise: Callable[[Row], Iterator[Row | RowError]],
    expected: str,
    max_bad_share: float,
    what: str,
) -> Loaded:
    """Every row of the files as `normalise` makes it: rows, or a RowError for one that cannot be used.

    `expected` and `what` are for messages. Raises InputError (nothing matches, nothing usable) and StageError (too many
    bad rows).
    """
    tally = Tally(expected=f"{what} rows with {expected}")
    rows: list[Row] = []
    for path in glob_files(patterns, what=f"{what} files"):
        for line, raw in read_rows(path):
            tally.read += 1
            try:
                if isinstance(raw, RowError):
                    raise raw
                for item in normalise(raw):
                    if isinstance(item, RowError):
                        tally.skip(item, f"{path}:{line}")
                    else:
                        rows.append(item)
            except RowError as error:
                tally.skip(error, f"{path}:{line}")
    tally.kept = len(rows)
    tally.check(max_bad_share)
    return Loaded(rows, tally.to_dict())


def _instruction(raw: Row) -> Iterator[Row | RowError]:
    turns = _first(raw, "messages", "conversations")
    if turns is not None:
        messages = to_messages(turns, "user")
    elif raw.get("completion") is not None:
        messages = prompt_messages(raw) + to_messages(raw["completion"], "assistant")
    elif raw.get("instruction") is not None and raw.get("output") is not None:
        messages = prompt_messages(raw) + to_messages(raw["output"], "assistant")
    else:
        raise _unknown(raw)
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise RowError("does not end with an answer", f"the last of {len(messages)} messages must be the assistant's")
    yield {"messages": messages}


def _preferences(raw: Row) -> Iterator[Row | RowError]:
    if raw.get("answers") is not None:
        yield from _ranked(raw)
    elif raw.get("output_1") is not None:
        yield _annotated(raw)
    elif raw.get("chosen") is None or raw.get("rejected") is None:
        raise _unknown(raw)
    elif _first(raw, "prompt", "instruction", "messages", "conversations") is not None:
        yield _pair(prompt_messages(raw), raw["chosen"], raw["rejected"], raw.get("margin"))
    else:
        yield _pair_without_prompt(raw)


def _ranked(raw: Row) -> Iterator[Row | RowError]:
    for item in _ranking(raw):
        yield from [item] if isinstance(item, RowError) else as_pairs(item)


def _ranking(raw: Row) -> Iterator[Row | RowError]:
    if raw.get("answers") is None:
        yield from _preferences(raw)
        return
    prompt, given = prompt_messages(raw), raw["answers"]
    if not isinstance(given, list) or len(given) < 2:
        raise RowError("fewer than two answers", "answers must be a list of at least two, best first")
    ranks = raw.get("ranks") if raw.get("ranks") is not None else list(range(1, len(given) + 1))
    if not isinstance(ranks, list) or len(ranks) != len(given) or not all(_is_number(rank) for rank in ranks):
        raise RowError("ranks do not fit the answers", f"expected {len(given)} numbers, the lowest the best: {ranks!r}")
    row: Row = {"prompt": prompt, "answers": [_answer(prompt, answer, "an answer") for answer in given], "ranks": ranks}
    for left, right in combinations(range(len(given)), 2):
        if ranks[left] != ranks[right] and row["answers"][left] == row["answers"][right]:
            yield RowError("chosen equals rejected", "the two answers are the same")
    pairs = ranked_pairs(row)
    if not pairs:
        raise RowError("no pair", "all answers have the same rank or the same text")
    if len(given) > 2:
        yield row
    else:
        ((better, worse),) = pairs
        yield {"prompt": prompt, "chosen": row["answers"][better], "rejected": row["answers"][worse]}


def as_pairs(row: Row) -> list[Row]:
    """A row of ranked answers as one row for each of its pairs; any other row as it is."""
    if "answers" not in row:
        return [row]
    answers = row["answers"]
    return [
        {"prompt": row["prompt"], "chosen": answers[better], "rejected": answers[worse]}
        for better, worse in ranked_pairs(row)
    ]


def ranked_pairs(row: Row) -> list[tuple[int, int]]:
    """(better, worse) numbers of answers for every pair of `row` whose ranks and texts differ, in the answers'
    order."""
    pairs = []
    for left, right in combinations(range(len(row["answers"])), 2):
        if row["ranks"][left] != row["ranks"][right] and row["answers"][left] != row["answers"][right]:
            pairs.append((left, right) if row["ranks"][left] < row["ranks"][right] else (right, left))
    return pairs


def _labelled(raw: Row) -> Iterator[Row | RowError]:
    if raw.get("completion") is None:
        for pair in _preferences(raw):
            if isinstance(pair, RowError):
                yield pair
            else:
                for side in ("chosen", "rejected"):
                    yield {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        return
    label = raw.get("label")
    if label not in (True, False):
        raise RowError("no label", f"label is {label!r}; expected true (desirable) or false")
    prompt = prompt_messages(raw)
    yield {"prompt": prompt, "completion": _answer(prompt, raw["completion"], "completion"), "label": bool(label)}


def _annotated(raw: Row) -> Row:
    """AlpacaEval's own annotation rows: `preference` runs from 1 (first output better) to 2 (second)."""
    preference = raw.get("preference")
    if not isinstance(preference, (int, float)) or not 1 <= preference <= 2:
        raise RowError("no preference", f"preference is {preference!r}; expected a number from 1 to 2")
    if preference == 1.5:
        raise RowError("tie", "preference is 1.5")
    better, worse = ("output_1", "output_2") if preference < 1.5 else ("output_2", "output_1")
    return _pair(prompt_messages(raw), raw.get(better), raw.get(worse), abs(preference - 1.5) * 2)


def _pair_without_prompt(raw: Row) -> Row:
    """Chosen and rejected are whole conversations: their common start, up to its last user turn, is the prompt."""
    sides = [
        transcript(value) if isinstance(value, str) else to_messages(value, "assistant")
        for value in (raw["chosen"], raw["rejected"])
    ]
    shared = 0
    for left, right in zip(*sides, strict=False):
        if left != right:
            break
        shared += 1
    while shared and sides[0][shared - 1]["role"] == "assistant":
        shared -= 1
    if not shared:
        raise RowError("no prompt", "chosen and rejected do not begin with the same user message")
    return _pair(sides[0][:shared], sides[0][shared:], sides[1][shared:], raw.get("margin"))


def _pair(prompt: list[Message], chosen: Any, rejected: Any, margin: Any) -> Row:
    pair: Row = {"prompt": prompt}
    for side, value in (("chosen", chosen), ("rejected", rejected)):
        pair[side] = _answer(prompt, value, side)
    if pair["chosen"] == pair["rejected"]:
        raise RowError("chosen equals rejected", "the two answers are the same")
    if margin is not None:
        if not _is_number(margin):
            raise RowError("margin is not a number", repr(margin))
        pair["margin"] = float(margin)
    return pair


def _answer(prompt: list[Message], value: Any, name: str) -> list[Message]:
    """The messages of an answer, up to the assistant's last."""
    answer = to_messages(value, "assistant")
    # Some data sets repeat the conversation on each side.
    if len(answer) > len(prompt) and answer[: len(prompt)] == prompt:
        answer = answer[len(prompt) :]
    if answer[-1]["role"] != "assistant":
        raise RowError("does not end with an answer", f"the last message of {name} must be the assistant's")
    return answer


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _prompt(raw: Row) -> Iterator[Row | RowError]:
    used = ("prompt", "instruction", "input", "messages", "conversations")
    yield {"prompt": prompt_messages(raw), **{name: value for name, value in raw.items() if name not in used}}


def prompt_messages(raw: Row) -> list[Message]:
    """What comes before the answer; ends with a user (or tool) message."""
    value = _first(raw, "prompt", "messages", "conversations")
    if value is not None:
        messages = to_messages(value, "user")
    elif isinstance(raw.get("instruction"), str):
        extra = raw.get("input")
        text = f"{raw['instruction']}\n\n{extra}" if isinstance(extra, str) and extra.strip() else raw["instruction"]
        messages = to_messages(text, "user")
    else:
        raise _unknown(raw)
    if messages[-1]["role"] not in ("user", "tool"):
        raise RowError("prompt does not end with the user", f"its last message is the {messages[-1]['role']}'s")
    return messages


def _first(raw: Row, *names: str) -> Any:
    return next((raw[name] for name in names if raw.get(name) is not None), None)


def _unknown(raw: Row) -> RowError:
    return RowError("unknown columns", f"found {', '.join(sorted(raw)) or 'none'}")
