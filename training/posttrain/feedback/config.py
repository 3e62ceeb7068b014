"""Configuration of sampling answers, of scoring them, and of rejection sampling."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from millbase.config import Config
from millbase.judge.config import JudgeConfig, ServerConfig
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


class SelectionConfig(AnswersConfig):
    """Which of the scored answers to a prompt become instructions and pairs."""

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


class RejectConfig(SelectionConfig):
    """Rejection sampling: the best of K answers to each prompt become instructions, and pairs of them preferences."""

    reward: ScoreConfig
    """What scores the answers."""


class ChatConfig(Config):
    """A model that is talked to: behind a server, or a checkpoint in this process."""

    server: ServerConfig | None = None
    """An OpenAI-compatible server."""
    model: str | None = None
    """A `checkpoint` artifact or Hugging Face model folder, which replies greedily."""
    max_new_tokens: int = Field(default=256, gt=0)
    """Longest reply of a local model, in tokens (a server has `server.max_tokens`)."""
    batch_size: int = Field(default=16, gt=0)
    """Replies that a local model writes at once."""
    cache: str | None = None
    """Folder in which replies are kept for other runs, under a digest of the model and what was asked. null keeps them
    for this run's own resumption only."""

    @model_validator(mode="after")
    def _check(self) -> ChatConfig:
        if (self.server is None) == (self.model is None):
            raise ValueError("give exactly one of server and model")
        return self


class FeedbackConfig(SelectionConfig):
    """AI feedback: a judge ranks K answers to each prompt; pairs of them become preferences (Lee et al. 2023, RLAIF).

    An answer's score is the share of the other answers that it beats, ties half.
    """

    samples: int = Field(default=4, gt=1)
    """Answers for each prompt (K). Ranking by pairs asks K(K-1) questions a prompt."""
    judge: ChatConfig
    """The judge."""
    verdict: JudgeConfig = JudgeConfig()
    """How it is asked and how its replies are read."""
    pairs: Literal["none", "best_worst", "all"] = "best_worst"
    """Preference pairs: the best against the worst answer of a prompt, or all pairs with different scores."""


class OnlineDpoConfig(AnswersConfig):
    """Online DPO: the policy answers, the answers are scored, the best and the worst of each prompt make a DPO step;
    then the policy answers again (Guo et al. 2024). No pair is older than one update."""

    reference: str | None = None
    """The frozen model of the DPO loss; null: `model` as it is at the start. Its tokenizer must be the same."""
    reward: ScoreConfig | None = None
    """What scores the answers."""
    judge: ChatConfig | None = None
    """A judge that ranks them instead."""
    verdict: JudgeConfig = JudgeConfig()
    """How the judge is asked."""
    samples: int = Field(default=2, gt=1)
    """Answers for each prompt; the best and the worst of them become a pair."""
    min_margin: float = Field(default=0.0, ge=0)
    """A pair's scores must differ by more than this; a prompt without such a pair teaches nothing and is counted."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """sigmoid: DPO (Rafailov et al. 2023, equation 7); ipo: Azar et al. 2023, equation 17, on log-ratios per token."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference; tau of ipo."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the chosen answers' cross-entropy per token, added to the loss."""
    updates: int = Field(default=100, gt=0)
    """Rounds of sampling, scoring and training."""
    prompts_per_update: int = Field(default=64, gt=0)
    """Prompts answered in an update."""
    minibatches: int = Field(default=1, gt=0)
    """Optimizer steps in an update; each sees its part of the pairs. 1 is strictly on policy."""
    micro_batch_size: int = Field(default=32, gt=0)
    """Pairs per forward and backward pass. It bounds memory and does not change the result."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """Peak learning rate of AdamW."""
    warmup_updates: int = Field(default=2, ge=0)
    """Updates of linear warm-up."""
    schedule: Literal["constant", "linear"] = "linear"
    """After warm-up: constant, or linearly to a tenth at the last update."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    logit_chunk: int = Field(default=4096, gt=0)
    """Token positions whose logits exist at once."""
    idle_updates: int = Field(default=10, gt=0)
    """So many updates in a row without a pair stop the run: the scores tell the answers apart no more."""
    save_every: int = Field(default=10, gt=0)
    """Updates between saved states; a killed run continues from the last one, bit for bit."""
    sample_every: int = Field(default=10, gt=0)
    """Updates between records in `samples.jsonl`."""

    @model_validator(mode="after")
    def _check(self) -> OnlineDpoConfig:
        if (self.reward is None) == (self.judge is None):
            raise ValueError("give exactly one of reward and judge")
        if self.limit is not None or self.block != 1:
            raise ValueError("limit and block do not apply: every update takes the next prompts of the seed's order")
        return self


class CritiqueConfig(AnswersConfig):
    """Critique and revision by principles (Bai et al. 2022, Constitutional AI): revised answers become instructions,
    and revised against original preferences."""

    samples: int = Field(default=1, gt=0)
    """Answers of the policy for each prompt, each revised on its own."""
    principles: str
    """YAML file: a list of texts, or of mappings with `principle`. The seed draws one for each answer and round."""
    rounds: int = Field(default=1, gt=0, le=8)
    """Critiques and revisions in a row, each of what the one before wrote."""
    critic: ChatConfig | None = None
    """What criticises and revises; null: the policy itself, greedily, as in the paper."""
    check: JudgeConfig | None = JudgeConfig()
    """The critic is asked, in this way, whether the last revision is better than the original; a revision that does not
    win is left out. null takes every revision."""
    max_failed_share: float = Field(default=0.05, ge=0, le=1)
    """Answers that got no critique or no revision are left out and counted; more than this share stops the stage."""
