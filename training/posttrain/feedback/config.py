"""Configuration of sampling answers, of scoring them, and of rejection sampling."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from millbase.config import Config
from training.posttrain.verifiable.config import VerifiableReward


class AnswersConfig(Config):
    """K answers of a policy to each prompt."""

    model: str
    """The policy: a `checkpoint` artifact or a Hugging Face model folder."""
    prompts: str | list[str]
    """Prompt rows (JSONL, Parquet or Arrow): `prompt` as messages or text; further columns go to reward functions. A
    prompt that occurs again is left out and counted."""
    limit: int | None = Field(default=None, gt=0)
    """Answer this many prompts of the seed's shuffled order; null for all, in the files' order."""
    block: int = Field(default=1, ge=1)
    """Which `limit` prompts of the shuffled order: 1 the first ones, 2 those after them, and so on, into a new
    permutation where they run out. For rounds that want prompts of their own."""
    samples: int = Field(default=8, gt=0)
    """Answers for each prompt (K)."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits."""
    max_prompt_length: int = Field(default=256, gt=0)
    """Tokens; longer prompts are left out, and counted."""
    max_new_tokens: int = Field(default=128, gt=0)
    """Tokens an answer may have, the end-of-turn token included."""
    sampling_batch_size: int = Field(default=256, gt=0)
    """Answers sampled at once."""
    engine: Literal["own", "transformers", "vllm"] = "own"
    """What samples; the engines of PPO's `sampler.engine`."""
    vllm_memory_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the GPU's memory that vLLM may take."""
    piece: int = Field(default=64, gt=0)
    """Prompts between two saves: what a kill can cost. Part of what makes the samples, like the seed."""
    require_end: bool = True
    """An answer that was cut off before its end-of-turn token is never kept or chosen; it may be rejected."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward passes."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    threads: int | None = Field(default=None, gt=0)
    """CPU threads for torch; null for every core this process may use."""
    seed: int = Field(default=0, ge=0)
    """Order of the prompts and sampling noise are pure functions of it."""


class ScoreConfig(Config):
    """What scores an answer: a reward model, functions, verifiable checks; weighted and summed."""

    model: str | None = None
    """A `reward-model` artifact; its tokenizer may differ from the policy's."""
    model_weight: float = 1.0
    """Weight of the reward model's score in the sum."""
    functions: list[str] = Field(default_factory=list)
    """Reward functions as `package.module:name` or `path/to/file.py:name`, as for PPO."""
    function_weights: list[float] = Field(default_factory=list)
    """Weights of the functions in the sum; empty means 1 each."""
    verifiable: list[VerifiableReward] = Field(default_factory=list)
    """Checks of answers by name, such as `{check: maths}`."""
    batch_size: int = Field(default=64, gt=0)
    """Conversations per forward pass of the reward model."""
    on_error: Literal["stop", "skip"] = "stop"
    """When a source raises or gives no finite number: `stop` ends the stage (finished pieces are kept), `skip` leaves
    the answer without a score, so that it is neither kept nor paired, and keeps the reason in `answers.jsonl`."""
    max_error_share: float = Field(default=0.1, ge=0, le=1)
    """`skip` stops all the same when more than this share of the answers has no score."""

    @model_validator(mode="after")
    def _check(self) -> ScoreConfig:
        if self.model is None and not self.functions and not self.verifiable:
            raise ValueError("no source of scores: set model, functions or verifiable")
        if self.function_weights and len(self.function_weights) != len(self.functions):
            raise ValueError(
                f"function_weights has {len(self.function_weights)} numbers for {len(self.functions)} functions; "
                "give one each, or none"
            )
        return self


class RejectConfig(AnswersConfig):
    """Rejection sampling: the best of K answers to each prompt become instructions, and pairs of them preferences."""

    reward: ScoreConfig
    """What scores the answers."""
    keep: int = Field(default=1, gt=0)
    """Different answers kept for each prompt, the best ones."""
    min_score: float | None = None
    """An answer with a lower score is not kept; with a verifiable reward of 0 or 1, set 1. null keeps any."""
    prompt_share: float = Field(default=1.0, gt=0, le=1)
    """Keep only this share of the prompts, those with the highest best score (RAFT's global ranking, Dong et al.
    2023)."""
    ties: Literal["first", "shortest"] = "first"
    """Of answers with equal scores, which counts as the better: the first drawn, or the shortest."""
    pairs: Literal["none", "best_worst", "all"] = "none"
    """Preference pairs beside the instructions: the best against the worst answer of a prompt, or all pairs with
    different scores."""
    min_margin: float = Field(default=0.0, ge=0)
    """A pair's scores must differ by more than this."""
