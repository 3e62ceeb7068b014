"""Configuration of verifiable rewards: one class per check, chosen by its name in `check`.

    reward:
      verifiable:
        - {check: maths, weight: 1.0}
        - {check: format, pattern: '<think>.*</think>.*', weight: 0.2}

Each gives every completion one number, mostly 1 (right) or 0. What it compares with stands in columns of the prompt
rows.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from millbase.config import Config
from millbase.verify.sandbox.config import SandboxConfig


class _Reward(Config):
    """What all of them have."""

    name: str | None = None
    """What the metrics call it (`reward_NAME`); null for the name of the check."""
    weight: float = 1.0
    """Weight in the sum of all sources."""


class NumericReward(_Reward):
    """1 where the completion's answer is the right number."""

    check: Literal["numeric"]
    """`numeric`: numbers only (signs, separators, currency, percentages, fractions, LaTeX fractions)."""
    column: str = "answer"
    """Column with the right answer; of a whole solution, what follows `####` or stands in `\\boxed{}`."""
    extract: Literal["auto", "stated", "whole"] = "auto"
    """Where the answer is looked for. `stated`: in the last `\\boxed{}`, after `####` or after "answer is". `whole`:
    the completion is the answer and nothing else. `auto`: stated, or else the last number."""
    tolerance: float = Field(default=0.0, ge=0)
    """Relative difference that still counts as right; at 0 decimal fractions are compared to six places."""


class MathsReward(_Reward):
    """1 where the completion's answer is the right number or means the same as the right formula (math-verify)."""

    check: Literal["maths"]
    """`maths`: numbers and formulas."""
    column: str = "answer"
    """Column with the right answer; of a whole solution, what follows `####` or stands in `\\boxed{}`."""
    extract: Literal["auto", "stated", "whole"] = "auto"
    """As for `numeric`; `auto`: stated, or else the whole completion."""
    timeout_seconds: float = Field(default=5.0, gt=0)
    """CPU time for one comparison of formulas; what takes longer counts as wrong."""


class CodeReward(_Reward):
    """1 where the program in the completion passes its tests, run in the sandbox."""

    check: Literal["code"]
    """`code`: Python programs; the last code block of the completion, or all of it where it has none."""
    column: str = "tests"
    """Column with the tests: Python code that raises where the program is wrong, or a list of such texts. The columns
    `entry_point` (the name that must be defined) and `prelude` (code for the tests) are read where they exist."""
    score: Literal["all", "share"] = "all"
    """`all`: 1 when every test passes. `share`: the share of a list's tests that pass."""
    sandbox: SandboxConfig = SandboxConfig()
    """How programs are confined. Where nothing can confine them the run is refused, unless `allow_unsandboxed`."""
    workers: int | None = Field(default=None, gt=0)
    """Programs run at a time; null for one per core."""


class FormatReward(_Reward):
    """1 where the completion has the shape of a regular expression."""

    check: Literal["format"]
    """`format`: a regular expression over the completion."""
    pattern: str = Field(min_length=1)
    """The expression, in Python's syntax; a dot matches line breaks too."""
    whole: bool = True
    """Whether the whole completion must match, blank space around it aside; false: it must occur."""
    timeout_seconds: float = Field(default=5.0, gt=0)
    """Longest time for one match; an expression that takes longer counts as a failed source for that completion."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        import regex

        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class ContainsReward(_Reward):
    """1 where the right answer stands somewhere in the completion. Naming every answer there is earns it too: put a
    bound on the length beside it."""

    check: Literal["contains"]
    """`contains`: a text, as whole words, whatever their case."""
    column: str = "answer"
    """Column with the right answer, or a list of answers of which one is enough."""


class InstructionsReward(_Reward):
    """Instructions that a program can check, as in IFEval."""

    check: Literal["instructions"]
    """`instructions`: the 25 checks of IFEval (docs/evaluation.md)."""
    instructions: dict[str, dict[str, Any]] = {}
    """Instructions for every prompt with their arguments, such as `{"punctuation:no_comma": {}}`; empty: those in each
    row's columns `instruction_id_list` and `kwargs`, as IFEval publishes them."""
    score: Literal["all", "share"] = "all"
    """`all`: 1 when every instruction is followed. `share`: the share that is."""
    loose: bool = False
    """Accept it also without the first or last line, or without asterisks."""


class LengthReward(_Reward):
    """0 for a length within bounds, down to -1 outside."""

    check: Literal["length"]
    """`length`: of the text, in words or characters. The punishment by tokens is `overlong` of `llmill grpo`."""
    unit: Literal["words", "characters"] = "words"
    """What is counted; words are separated by blank space."""
    minimum: int | None = Field(default=None, ge=0)
    """Shortest length without punishment; null for none."""
    maximum: int | None = Field(default=None, ge=0)
    """Longest length without punishment; null for none."""
    margin: int = Field(default=0, ge=0)
    """The reward falls in a straight line to -1 at this distance from the bound; 0: at once."""

    @model_validator(mode="after")
    def _check(self) -> LengthReward:
        if self.minimum is None and self.maximum is None:
            raise ValueError("length without a bound: set minimum, maximum or both")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum = {self.minimum} is above maximum = {self.maximum}")
        return self


VerifiableReward = Annotated[
    NumericReward | MathsReward | CodeReward | FormatReward | ContainsReward | InstructionsReward | LengthReward,
    Field(discriminator="check"),
]
"""One entry of `reward.verifiable`."""
