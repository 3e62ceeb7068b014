r"""A judge that is a known rule: what a synthetic preference really is, so win rates need no model to judge them.

`rule.json` holds no code:

    {"version": 1,
     "correct": {"weight": 2.0, "extract": "regex whose group 1 is the answer given"},
     "patterns": [{"name": "courteous close", "regex": "...", "weight": 1.0}],
     "length": {"per_character_over": [80, -0.01]}}

A response's score is `correct.weight` if the extracted answer equals the right one, plus the weight of every pattern
found in it, plus -0.01 for each character over 80 (in this example). Each part is optional.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Self

from pydantic import Field, ValidationError, field_validator, model_validator

from evaluation.records import Prompt
from millbase.config import Config
from millbase.errors import InputError
from millbase.files import open_file


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


class CorrectPart(Config):
    """Points for the right answer."""

    weight: float
    """Points."""
    extract: str
    """Regular expression; the first match's group 1 is the answer the response gives."""

    @field_validator("extract")
    @classmethod
    def _one_group(cls, pattern: str) -> str:
        if re.compile(_compiles(pattern)).groups < 1:
            raise ValueError("needs a group that holds the answer")
        return pattern


class PatternPart(Config):
    """Points for something that occurs in the response, once however often it occurs."""

    name: str
    """What it is."""
    regex: str
    """Regular expression searched for in the response."""
    weight: float
    """Points."""

    _valid = field_validator("regex")(_compiles)


class LengthPart(Config):
    """Points for each character beyond a length."""

    per_character_over: tuple[int, float]
    """`[characters that are free, points for each further one]`."""


class Rule(Config):
    """A preference rule; see the module's docstring."""

    version: int
    """Format; 1."""
    correct: CorrectPart | None = None
    """The right answer."""
    patterns: list[PatternPart] = Field(default_factory=list)
    """Things that occur."""
    length: LengthPart | None = None
    """Length."""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.version != 1:
            raise ValueError(f"version {self.version}, expected 1")
        return self

    def score(self, response: str, answer: str | None) -> float:
        """Points of one response. `answer` is needed when the rule has a `correct` part."""
        points = 0.0
        if self.correct is not None:
            assert answer is not None, "a rule with a correct part needs the right answer"
            found = re.search(self.correct.extract, response)
            if found and (found.group(1) or "").strip() == answer.strip():
                points += self.correct.weight
        points += sum(part.weight for part in self.patterns if re.search(part.regex, response))
        if self.length is not None:
            free, each = self.length.per_character_over
            points += each * max(0, len(response) - free)
        return points


class RuleJudge:
    """The rule in a file as a judge."""

    name = "rule"

    def __init__(self, path: str) -> None:
        self.rule = load_rule(path)

    @property
    def needs_answer(self) -> bool:
        """Whether prompts must come with the right answer."""
        return self.rule.correct is not None

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """Points of each response."""
        return [self.rule.score(text, prompt.answer) for prompt, text in zip(prompts, responses, strict=True)]


def load_rule(path: str) -> Rule:
    """Read and check a rule file. InputError, naming the part, when it is missing or not a rule."""
    with open_file(path) as file:
        try:
            return Rule.model_validate(json.load(file))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "rule"
            raise InputError(f"{path!r} is not a preference rule: {where}: {first['msg']}") from None
        except ValueError as error:
            raise InputError(f"{path!r} is not JSON: {error}") from None
