"""Prompts and preference pairs from JSONL files; rows without a needed field are counted and left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millbase.errors import InputError, StageError
from millbase.files import open_file
from millbase.hashing import value_digest
from millbase.log import get_logger

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = get_logger(__name__)

Message = dict[str, Any]
R = TypeVar("R")


@dataclass(frozen=True)
class Prompt:
    """Something to respond to."""

    id: str
    """Line number in the file, from 1."""
    messages: list[Message]
    answer: str | None
    """The right answer, when the file gives one."""

    @property
    def text(self) -> str:
        """The last message, for people."""
        return str(self.messages[-1]["content"])

    @property
    def digest(self) -> str:
        """Digest of the messages."""
        return value_digest(self.messages)


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt, the first preferred."""

    id: str
    chosen: list[Message]
    """The whole conversation."""
    rejected: list[Message]
    others: tuple[list[Message], ...] = ()
    """Further rejected conversations, in best-of-K rows."""
    category: str | None = None
    """`subset` or `category` of the row."""

    @property
    def digest(self) -> str:
        """Digest of all conversations."""
        return value_digest([self.chosen, self.rejected, *self.others])


@dataclass
class Records(Generic[R]):
    """Rows that could be used, and how many could not."""

    rows: list[R] = field(default_factory=list)
    skipped: int = 0


def read_prompts(
    path: str, *, limit: int | None, maximum_bad_share: float, need_answer: bool = False
) -> Records[Prompt]:
    """Rows `{"prompt": messages or text, "answer"?}`, `{"messages": [...]}` (asked up to the last user turn) or
    `{"turns": [text, ...]}` (the first is asked)."""

    return read_rows(
        path,
        lambda line, row: parse_prompt(line, row, need_answer),
        limit=limit,
        maximum_bad_share=maximum_bad_share,
        needed="prompt" + (", answer" if need_answer else ""),
    )


def parse_prompt(line: int, row: dict[str, Any], need_answer: bool = False) -> Prompt:
    """One row of a prompt file; KeyError or TypeError when it is none."""
    answer = row.get("answer")
    if need_answer and not isinstance(answer, str):
        raise KeyError("answer")
    if "prompt" in row:
        messages = _conversation(row["prompt"], "user")
    elif "turns" in row:  # MT-bench and its like: the first turn stands alone
        messages = _conversation(row["turns"][0], "user")
    else:
        messages = _until_last_user(row["messages"])
    return Prompt(str(line), messages, answer)


def read_pairs(path: str, *, limit: int | None, maximum_bad_share: float) -> Records[Pair]:
    """Rows `{"prompt", "chosen", "rejected"}`; without `prompt`, the other two are whole conversations.

    `rejected` may be a list of texts, all worse than the chosen one (RewardBench 2: one chosen, three rejected), and
    `subset` or `category` names a group of rows.
    """

    def parse(line: int, row: dict[str, Any]) -> Pair:
        prompt = _conversation(row["prompt"], "user") if "prompt" in row else []
        (chosen,) = [prompt + _conversation(text, "assistant") for text in _several(row["chosen"])]
        rejected, *others = [prompt + _conversation(text, "assistant") for text in _several(row["rejected"])]
        category = row.get("subset", row.get("category"))
        return Pair(str(line), chosen, rejected, tuple(others), None if category is None else str(category))

    return read_rows(path, parse, limit=limit, maximum_bad_share=maximum_bad_share, needed="prompt, chosen, rejected")


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: list[Message], where: str) -> list[int]:
    """Token ids of a conversation up to where the assistant speaks. InputError without a chat template."""
    if tokenizer.chat_template is None:
        raise InputError(
            f"{where}: the tokenizer has no chat template, so the model cannot be asked prompts; evaluate a checkpoint "
            "after SFT, or leave out the blocks that ask prompts"
        )
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def read_rows(
    path: str,
    parse: Callable[[int, dict[str, Any]], R],
    *,
    limit: int | None,
    maximum_bad_share: float,
    needed: str,
) -> Records[R]:
    """Rows of a JSONL file through `parse(line, row)`, whose KeyError or TypeError makes a bad row.

    Raises InputError when the file cannot be read or is empty, StageError when too many rows are bad; `needed` says
    what a row should have.
    """
    records: Records[R] = Records()
    first_problem = ""
    for line, text in _lines(path):
        if limit is not None and len(records.rows) == limit:
            break
        try:
            row = json.loads(text)
            if not isinstance(row, dict):
                raise TypeError(f"a {type(row).__name__}, not an object")
            records.rows.append(parse(line, row))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            records.skipped += 1
            why = f"field {error} is missing or not text" if isinstance(error, KeyError) else str(error)
            first_problem = first_problem or f"line {line}: {why}"
    total = len(records.rows) + records.skipped
    if total == 0:
        raise InputError(f"{path!r} is empty; expected JSONL rows with {needed}")
    if not records.rows or records.skipped > maximum_bad_share * total:
        raise StageError(
            f"{path!r}: {records.skipped} of {total} rows cannot be used (first: {first_problem}); expected JSONL rows "
            f"with {needed}, at most {maximum_bad_share:.0%} bad (maximum_bad_share)"
        )
    if records.skipped:
        logger.warning("%s: skipped %d of %d rows (first: %s)", path, records.skipped, total, first_problem)
    return records


def _lines(path: str) -> Iterator[tuple[int, str]]:
    try:
        with open_file(path) as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    yield line, text
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{path!r} cannot be read as UTF-8 JSONL: {error}") from None


def _conversation(value: Any, role: str) -> list[Message]:
    """A list of messages as it is, or text as one message of `role`."""
    if isinstance(value, str):
        value = [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise TypeError(f"expected text or a list of messages, found {type(value).__name__}")
    for message in value:
        if not isinstance(message["role"], str) or not isinstance(message["content"], str):
            raise TypeError("a message needs text in role and content")
    return value


def _several(value: Any) -> list[Any]:
    """A list of texts as it is; one text or one conversation as a list of it."""
    return value if isinstance(value, list) and value and all(isinstance(part, str) for part in value) else [value]


def _until_last_user(value: Any) -> list[Message]:
    messages = _conversation(value, "user")
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    return messages[: last + 1]
