"""Blocks about how a model behaves: refusals, several turns, variety, text it has by heart, rewards it has gamed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from evaluation.judge_config import JudgeModelConfig
from millbase.config import Config

DIVERSITY = {
    "distinct_1": True,
    "distinct_2": True,
    "distinct_3": True,
    "self_bleu": False,
    "repeated_share": False,
    "entropy": True,
}
"""Measures of diversity; whether more of it is more diverse."""


class SamplingConfig(Config):
    """How responses are drawn."""

    temperature: float = Field(default=1.0, ge=0)
    """0 is greedy decoding."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the most probable tokens that together have this probability."""
    top_k: int = Field(default=0, ge=0)
    """Draw from this many most probable tokens; 0: all."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Longest response, in tokens."""


class SafetyConfig(Config):
    """Does the model refuse what it should refuse, and only that?"""

    prompts: str
    """JSONL file with `prompt` and `label`: `harmful` or `benign` (XSTest's `unsafe` and `safe` are the same). A
    `category` or `type` gets rates of its own."""
    label: Literal["harmful", "benign"] | None = None
    """The label of rows without one, for files of one kind only."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first prompts."""
    max_new_tokens: int = Field(default=128, gt=0)
    """Longest response, in tokens; decoding is greedy."""
    refusal_patterns: list[str] = []
    """Regular expressions that also mark a refusal, for models with phrases of their own; any case."""
    judge_model: JudgeModelConfig | None = None
    """Ask this model whether a response refuses, instead of looking for phrases."""

    @field_validator("refusal_patterns")
    @classmethod
    def _compile(cls, patterns: list[str]) -> list[str]:
        from evaluation.refusal import check_pattern

        return [check_pattern(pattern) for pattern in patterns]


class DialoguesConfig(Config):
    """Conversations of several user turns, each answered in the light of the earlier answers (MT-bench's format)."""

    prompts: str
    """JSONL file with `turns`, a list of user texts; optional: `question_id`, `category`, `system`, `reference` (a list
    of good answers, one per turn), and `answers` (a list of short right answers, null where a turn has none)."""
    references: str | None = None
    """JSONL file of good answers as MT-bench publishes them: `question_id` and `choices[0].turns`."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first conversations."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.0, max_new_tokens=512)
    """How the model responds; each turn of each conversation has its own seed."""
    judge_model: JudgeModelConfig | None = None
    """Judge: a model that rates each answer from 1 to 10, given the conversation so far."""
    reward_model: str | None = None
    """Judge: a reward model."""


class DiversityConfig(Config):
    """Do several responses to one prompt differ? Against the reference's when there is one."""

    prompts: str
    """JSONL file with `prompt`."""
    limit: int | None = Field(default=100, gt=0)
    """Use only the first prompts."""
    samples: int = Field(default=8, gt=1)
    """Responses to each prompt."""
    sampling: SamplingConfig = SamplingConfig()
    """How responses are drawn; its temperature must be above 0."""

    @model_validator(mode="after")
    def _sampled(self) -> Self:
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature 0 gives equal responses; set it above 0")
        return self


class MemorisationConfig(Config):
    """How much training text can be drawn out of the model by its beginning, beside text it has never seen."""

    tokens: str
    """The token artifact that the model was trained on; held-out documents of the same artifact are the control."""
    documents: int = Field(default=500, gt=0)
    """Documents of each split, evenly spaced; one passage of each."""
    prefix: int = Field(default=50, gt=0)
    """Tokens that are shown."""
    continuation: int = Field(default=50, gt=0)
    """Tokens that must follow exactly, decoded greedily."""
    maximum_extractable: float | None = Field(default=None, ge=0, le=1)
    """Gate: the extractable share of training passages must not exceed this."""


class OveroptimisationConfig(Config):
    """Has training against a reward model gone beyond what the reward model knows?"""

    prompts: str
    """JSONL file with `prompt` (and `answer`, where the true reward is a rule that needs it)."""
    checkpoints: list[str] = Field(min_length=1)
    """Earlier checkpoints of the same run, the first one first; `model` is the last."""
    learned: str
    """The reward model that was trained against."""
    rule: str | None = None
    """The true reward: a preference rule (`rule.json`)."""
    held_out: str | None = None
    """The true reward's stand-in: a reward model that was not trained against, from other data or another seed."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first prompts."""
    sampling: SamplingConfig = SamplingConfig()
    """How the checkpoints respond; each prompt has its own seed, the same for all."""

    @model_validator(mode="after")
    def _one_truth(self) -> Self:
        if (self.rule is None) == (self.held_out is None):
            raise ValueError("give exactly one true reward: rule or held_out")
        return self


class AlignmentTaxConfig(Config):
    """What a stage cost in capabilities, and in compression of the pretraining mix."""

    before: str | None = None
    """Scores of the stage to compare with; default: `previous_scores`."""
    scores: list[str] = []
    """`TASK METRIC` of each capability; default: the first metric of every task, of `ifeval` and of `code`."""
    maximum_loss: float | None = Field(default=None, ge=0)
    """Gate: the mean change of the capabilities must not be below minus this."""
    maximum_forgetting: float | None = Field(default=None, ge=0)
    """Gate: bits per byte must not have risen by more than this. Needs `bits_per_byte`."""
