"""Chat messages to token ids: what is trained on, what is only read, and what happens to rows that are too long.

Rows are rendered with the tokenizer's chat template. The template's `{% generation %}` spans say which tokens the
assistant writes (with the end-of-turn token); only those are trained on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from millbase.errors import InputError
from millbase.progress import progress
from training.posttrain.data import Row, ranked_pairs
from training.posttrain.messages import Message
from training.posttrain.rows import RowError, Tally
from training.process_reward import solution_tokens

IGNORED = -100
"""Label of tokens that are not trained on (torch's cross-entropy default)."""

_PROBE: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


class TooLong(Exception):  # noqa: N818 (a policy's outcome, not an error)
    """A row that the length policy leaves out; the message is the reason that is counted."""


@dataclass(frozen=True)
class Encoded:
    """Token rows and the account of how they came about."""

    rows: list[Row]
    stats: dict[str, Any]


@dataclass
class ChatEncoder:
    """Renders and tokenises rows for a model.

    `max_length` is in tokens; `truncate` cuts the end of an answer that exceeds it, else the row is left out.
    """

    tokenizer: Any
    max_length: int
    truncate: bool = True
    truncated: int = 0
    """Answers cut so far."""
    stop_id: int = field(init=False)
    """The token that ends an assistant's turn."""

    def __post_init__(self) -> None:
        self.stop_id = check_chat_tokenizer(self.tokenizer)
        # Text of a row must not be able to forge a turn: special tokens written in the content would become real ones.
        special = sorted({*self.tokenizer.all_special_tokens}, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special)))

    def instruction(self, row: Row) -> Row:
        """`{"input_ids", "labels"}` of a conversation; labels are IGNORED except on the assistant's tokens."""
        ids, mask = self._render(row["messages"])
        # What follows the last assistant token (ChatML's line break) has no label and nothing after it to predict.
        end = len(mask) - mask[::-1].index(1) if 1 in mask else len(ids)
        ids, mask = ids[:end], mask[:end]
        if len(ids) > self.max_length:
            self._cut()
            ids, mask = ids[: self.max_length], mask[: self.max_length]
            if 1 not in mask:
                raise TooLong("prompt fills max_length")
        if 1 not in mask[1:]:
            raise RowError("no assistant tokens", "the chat template marks none in this conversation")
        return {"input_ids": ids, "labels": [token if on else IGNORED for token, on in zip(ids, mask, strict=True)]}

    def pair(self, row: Row) -> Row:
        """`{"prompt_ids", "chosen_ids", "rejected_ids"}`; an answer ends with its end-of-turn token unless cut."""
        prompt = self._prompt(row["prompt"])
        room = self.max_length - len(prompt)
        if room < 1:
            raise TooLong("prompt fills max_length")
        sides = {side: self._answer(prompt, row["prompt"] + row[side], room) for side in ("chosen", "rejected")}
        return {"prompt_ids": prompt, **self._distinct(sides)}

    def scored_pair(self, row: Row) -> Row:
        """`{"chosen_ids", "rejected_ids"}`: whole conversations as a reward model reads them, and `margin` if any."""
        room = self.max_length
        if len(self._prompt(row["prompt"])) >= room:
            raise TooLong("prompt fills max_length")
        sides: Row = {}
        for side in ("chosen", "rejected"):
            ids, _ = self._render(row["prompt"] + row[side])
            if len(ids) > room:
                self._cut()
            sides[f"{side}_ids"] = ids[:room]
        return {**self._distinct(sides), **({"margin": row["margin"]} if "margin" in row else {})}

    def scored_answers(self, row: Row) -> tuple[list[list[int]], list[list[int]]]:
        """(token ids of every conversation as a reward model reads it, pairs of them) of a prompt's ranked answers."""
        if len(self._prompt(row["prompt"])) >= self.max_length:
            raise TooLong("prompt fills max_length")
        answers = []
        for answer in row["answers"]:
            ids, _ = self._render(row["prompt"] + answer)
            if len(ids) > self.max_length:
                self._cut()
            answers.append(ids[: self.max_length])
        pairs = [[better, worse] for better, worse in ranked_pairs(row) if answers[better] != answers[worse]]
        if not pairs:
            raise TooLong("answers equal once cut")
        return answers, pairs

    def answer(self, row: Row) -> Row:
        """`{"prompt_ids", "completion_ids", "label"}` of one labelled answer, up to its end-of-turn token."""
        prompt = self._prompt(row["prompt"])
        room = self.max_length - len(prompt)
        if room < 1:
            raise TooLong("prompt fills max_length")
        completion = self._answer(prompt, row["prompt"] + row["completion"], room)
        return {"prompt_ids": prompt, "completion_ids": completion, "label": row["label"]}

    def steps(self, row: Row, separator: str) -> tuple[list[int], list[int]]:
        """(token ids, position of every step's last token) of a solution; steps that do not fit are cut."""
        prompt = self._prompt(row["prompt"])
        self._refuse_special([{"role": "assistant", "content": step} for step in row["steps"]])
        solution, marks = solution_tokens(self.tokenizer, row["steps"], separator)
        marks = [len(prompt) + mark for mark in marks]
        fitting = [mark for mark in marks if mark < self.max_length]
        if not fitting:
            raise TooLong("prompt and first step fill max_length")
        if len(fitting) < len(marks):
            self._cut()
        if all(label is None for label in row["labels"][: len(fitting)]):
            raise TooLong("no labelled step within max_length")
        return (prompt + solution)[: fitting[-1] + 1], fitting

    def _answer(self, prompt: list[int], messages: list[Message], room: int) -> list[int]:
        ids, mask = self._render(messages)
        if ids[: len(prompt)] != prompt:
            raise RowError(
                "template does not continue its prompt",
                "the rendered conversation does not begin with the rendered prompt; mend the chat template",
            )
        answer = ids[len(prompt) : len(mask) - mask[::-1].index(1)]
        if len(answer) > room:
            self._cut()
        return answer[:room]

    def _distinct(self, sides: Row) -> Row:
        named = {name if name.endswith("_ids") else f"{name}_ids": ids for name, ids in sides.items()}
        if named["chosen_ids"] == named["rejected_ids"]:
            raise TooLong("chosen equals rejected once cut")
        return named

    def _cut(self) -> None:
        if not self.truncate:
            raise TooLong("longer than max_length")
        self.truncated += 1

    def _prompt(self, messages: list[Message]) -> list[int]:
        self._refuse_special(messages)
        encoded = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        return list(encoded["input_ids"])

    def _render(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        self._refuse_special(messages)
        encoded = self.tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        return list(encoded["input_ids"]), list(encoded["assistant_masks"])

    def _refuse_special(self, messages: list[Message]) -> None:
        for message in messages:
            if found := self._special.search(message["content"]):
                raise RowError("holds a special token", f"{found.group()!r} in the {message['role']}'s text")


def check_chat_tokenizer(tokenizer: Any) -> int:
    """The id of the token that ends an assistant's turn.

    Raises InputError when the tokenizer has no chat template, the template marks no assistant span, the span does not
    end with one special token, or that token is also the padding.
    """
    name = tokenizer.name_or_path
    if not tokenizer.chat_template:
        raise InputError(f"tokenizer {name!r} has no chat template; give a tokenizer with one (tokenizer=FOLDER)")
    if not re.search(r"\{%-?\s*generation\s*-?%\}", tokenizer.chat_template):
        raise InputError(
            f"the chat template of tokenizer {name!r} marks no assistant spans; put {{% generation %}} and "
            "{% endgeneration %} around what the assistant writes, end-of-turn token included"
        )
    encoded = tokenizer.apply_chat_template(_PROBE, return_dict=True, return_assistant_tokens_mask=True)
    trained = [token for token, on in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if on]
    if not trained or trained[-1] not in tokenizer.added_tokens_decoder:
        last = tokenizer.decode(trained[-1:])
        raise InputError(
            f"the assistant span in the chat template of tokenizer {name!r} ends with {last!r}, not with a special "
            "token; add the end-of-turn token to the vocabulary and to the span, or the model cannot learn to stop"
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == trained[-1]:
        raise InputError(
            f"the padding token of tokenizer {name!r} is {tokenizer.pad_token!r}; it must be set and differ from the "
            f"end-of-turn token {tokenizer.decode(trained[-1:])!r}, which would be masked as padding"
        )
    return int(trained[-1])


def encode_rows(
    encoder: ChatEncoder, encode: Callable[[Row], Row], rows: Sequence[Row], max_bad_share: float, what: str
) -> Encoded:
    """Encode every row; rows left out are counted with their reason.

    Raises StageError when more than `max_bad_share` of the rows cannot be encoded, InputError when none is left.
    """
    tally = Tally(expected=f"{what} without special tokens in their text")
    left_out: Counter[str] = Counter()
    encoder.truncated = 0
    encoded: list[Row] = []
    with progress(f"tokenising {what}", total=len(rows), unit="rows") as bar:
        for number, row in enumerate(rows, start=1):
            tally.read += 1
            truncated = encoder.truncated
            try:
                encoded.append(encode(row))
            except TooLong as reason:
                left_out[str(reason)] += 1
                encoder.truncated = truncated
            except RowError as error:
                tally.skip(error, f"row {number}")
            bar.advance()
    tally.kept = len(encoded)
    if not encoded and left_out:
        raise InputError(
            f"none of {len(rows)} {what} fits max_length = {encoder.max_length} tokens ({dict(left_out)}); "
            "raise max_length or set too_long=truncate"
        )
    tally.check(max_bad_share)
    stats = {**tally.to_dict(), "left_out": dict(sorted(left_out.items())), "truncated": encoder.truncated}
    return Encoded(encoded, stats)
