"""Process reward models: for every step of a solution, the probability that it is right.

A solution is rendered as the chat template's prompt and then every step followed by a separator, each tokenised by
itself: a step then ends at a token's end whatever the tokenizer merges. The probability of a step is read at the last
token of its separator (Lightman et al. 2023, section 2.3; Uesato et al. 2022). Training and scoring share this file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from millbase.errors import InputError
from training.load import PROCESS_KIND, LoadedRewardModel, Message, open_model

Aggregate = Literal["min", "product", "last"]
SEPARATOR = "\n\n"
RIGHT = 1
"""Class number of a right step; 0 is a wrong one."""


def split_steps(text: str, separator: str = SEPARATOR) -> list[str]:
    """The steps of a solution written as one text; blank ones are left out. A text without any is one empty step."""
    return [step.strip() for step in text.split(separator) if step.strip()] or [""]


def solution_tokens(tokenizer: Any, steps: Sequence[str], separator: str) -> tuple[list[int], list[int]]:
    """(token ids of a solution, position of each step's last token in them)."""
    ids: list[int] = []
    marks: list[int] = []
    closing = list(tokenizer(separator, add_special_tokens=False)["input_ids"])
    for step in steps:
        ids += [*tokenizer(step.strip(), add_special_tokens=False)["input_ids"], *closing]
        marks.append(len(ids) - 1)
    return ids, marks


def aggregate(probabilities: Sequence[float], how: Aggregate) -> float:
    """One score of a solution from the probabilities of its steps: the least, their product, or the last one.

    Lightman et al. 2023 (section 3.1 and appendix F) compare product and minimum; the last is that of Uesato et al.
    """
    if how == "min":
        return min(probabilities)
    return math.prod(probabilities) if how == "product" else probabilities[-1]


@dataclass(frozen=True)
class LoadedProcessRewardModel(LoadedRewardModel):
    """A process reward model: `score` gives one number for a conversation, `score_steps` one for each step."""

    separator: str
    """Text between two steps."""
    how: Aggregate
    """How `score` makes one number of the steps' probabilities."""
    kind: ClassVar[str] = PROCESS_KIND

    def score(self, list_of_messages: list[list[Message]], batch_size: int = 32) -> list[float]:
        """One score in [0, 1] for each conversation, whose last message is the solution.

        Raises InputError when a conversation does not end with the assistant.
        """
        for messages in list_of_messages:
            if not messages or messages[-1]["role"] != "assistant":
                raise InputError("a process reward model scores conversations that end with the assistant's solution")
        steps = [split_steps(str(messages[-1]["content"]), self.separator) for messages in list_of_messages]
        prompts = [messages[:-1] for messages in list_of_messages]
        return [aggregate(found, self.how) for found in self.score_steps(prompts, steps, batch_size)]

    def score_steps(
        self, prompts: list[list[Message]], steps: list[list[str]], batch_size: int = 32
    ) -> list[list[float]]:
        """For each solution, the probability of every step being right, given the prompt and the steps before it.

        A solution longer than the model's context is read in windows: a step sees at least half a context before it.
        """
        windows: list[tuple[int, list[int], list[int]]] = []
        for number, (prompt, solution) in enumerate(zip(prompts, steps, strict=True)):
            rendered = self.tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
            before = list(cast(Any, rendered)["input_ids"])
            ids, marks = solution_tokens(self.tokenizer, solution, self.separator)
            ids, marks = before + ids, [len(before) + mark for mark in marks]
            for start, end, inside in window_marks(len(ids), marks, self.max_length):
                windows.append((number, ids[start:end], [mark - start for mark in inside]))
        found: list[list[float]] = [[] for _ in prompts]
        for first in range(0, len(windows), batch_size):
            batch = windows[first : first + batch_size]
            for (number, _, _), values in zip(batch, self._probabilities(batch), strict=True):
                found[number] += values
        return found

    def _probabilities(self, windows: list[tuple[int, list[int], list[int]]]) -> list[list[float]]:
        import torch

        width = max(len(ids) for _, ids, _ in windows)
        pad = self.tokenizer.pad_token_id
        input_ids = torch.tensor([ids + [pad] * (width - len(ids)) for _, ids, _ in windows])
        attention_mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for _, ids, _ in windows])
        device = self.model.device
        with torch.inference_mode():
            output = self.model(input_ids=input_ids.to(device), attention_mask=attention_mask.to(device))
        right = output.logits.float().softmax(dim=-1)[..., RIGHT]
        return [right[row, marks].tolist() for row, (_, _, marks) in enumerate(windows)]


def window_marks(length: int, marks: Sequence[int], size: int) -> list[tuple[int, int, list[int]]]:
    """(start, end, marks read) of windows of at most `size` tokens that read every mark once, in order.

    One window where everything fits; else each ends half a window after the one before.
    """
    windows: list[tuple[int, int, list[int]]] = []
    end, unread = 0, list(marks)
    while unread:
        end = min(length, end + (max(1, size // 2) if windows else size))
        windows.append((max(0, end - size), end, [mark for mark in unread if mark < end]))
        unread = [mark for mark in unread if mark >= end]
    return [window for window in windows if window[2]]


def load_process_reward_model(path: str | Path, dtype: str, device: Any) -> LoadedProcessRewardModel:
    """Open a `process-reward-model`; see `training.load.load_reward_model`."""
    from transformers import AutoModelForTokenClassification

    model, tokenizer, folder, digest, max_length = open_model(
        AutoModelForTokenClassification, path, (PROCESS_KIND,), dtype, device
    )
    separator, how = (getattr(model.config, name, None) for name in ("step_separator", "step_aggregate"))
    if model.config.num_labels != 2 or separator is None or how is None:
        raise InputError(
            f"{folder}: not a process reward model of `llmill prm`: expected two labels, step_separator and "
            f"step_aggregate in config.json, found {model.config.num_labels} labels; give such a model"
        )
    return LoadedProcessRewardModel(
        model=model, tokenizer=tokenizer, path=folder, digest=digest, max_length=max_length, separator=separator,
        how=how,
    )  # fmt: skip
