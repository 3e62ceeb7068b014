"""Blocks whose answers are verified: instructions followed (IFEval) and programs that pass their tests."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from millbase.config import Config
from millbase.verify.sandbox.config import SandboxConfig


class IfevalConfig(Config):
    """IFEval: does the model follow instructions that a program can check?"""

    prompts: str
    """JSONL file with `key`, `prompt`, `instruction_id_list`, `kwargs`, as IFEval publishes it."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first prompts."""
    max_new_tokens: int = Field(default=1280, gt=0)
    """Longest response, in tokens; decoding is greedy."""


class CodeConfig(Config):
    """Programs for HumanEval's or MBPP's problems, run in the sandbox: pass@k."""

    problems: str
    """JSONL file in HumanEval's format (`task_id`, `prompt`, `entry_point`, `test`) or MBPP's (`task_id`, `text` or
    `prompt`, `test_list`, and `test_setup_code` or `test_imports`)."""
    name: str = "code"
    """What the scores are called, such as `humaneval`."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first problems."""
    chat: bool = False
    """Ask through the chat template and take the code block of the answer; else the model completes the prompt."""
    samples: int = Field(default=1, gt=0)
    """Programs drawn for each problem."""
    k: list[int] = [1]
    """Report pass@k for these."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy decoding, for one sample; published pass@10 and pass@100 take 0.8."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Draw from the most probable tokens that together have this probability."""
    max_new_tokens: int = Field(default=512, gt=0)
    """Longest program, in tokens."""
    sandbox: SandboxConfig = SandboxConfig()
    """How programs are confined."""
    workers: int | None = Field(default=None, gt=0)
    """Programs run at a time; default: one per core."""

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if not self.k or max(self.k) > self.samples or min(self.k) < 1:
            raise ValueError(f"k {self.k} with {self.samples} samples: every k must lie between 1 and samples")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"{self.samples} samples at temperature 0 are the same program; set a temperature")
        return self
