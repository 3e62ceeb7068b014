"""What one evaluation measures: one checkpoint, optional comparisons, and a block for each kind of measurement."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config


class BitsPerByteConfig(Config):
    """Bits per byte of held-out documents of a token artifact, against a unigram model."""

    tokens: str
    """Token artifact; its tokenizer must be the checkpoint's."""
    split: Literal["heldout", "train"] = "heldout"
    """Documents to score."""
    max_documents: int = Field(default=500, gt=0)
    """Score at most this many documents, the first of the artifact's (already random) order."""
    context: int | None = Field(default=None, gt=1)
    """Tokens the model sees at once; default: the longest the model was configured for."""
    maximum_ratio_to_unigram: float | None = Field(default=None, gt=0)
    """Gate: bits per byte divided by the unigram model's must not exceed this."""


class TaskRun(Config):
    """One lm-eval task and how to run it."""

    task: str
    """Name of a task, group or tag: of `task_path`, or one that lm-eval ships (its data named in `datasets`, or in the
    local Hugging Face cache)."""
    apply_chat_template: bool = False
    """Put the prompt into the tokenizer's chat template."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Worked examples before the question; default: what the task says, or none."""
    limit: int | None = Field(default=None, gt=0)
    """Use only this many documents, evenly spaced over the task's data (some data files are sorted by kind)."""
    cluster_by: str | None = None
    """Field of the task's documents that says which of them belong together; widens the intervals accordingly."""


class TasksConfig(Config):
    """lm-eval tasks."""

    task_path: str | None = None
    """Folder with lm-eval task files (YAML); data files named in them are looked up beside each YAML file."""
    data_path: str | None = None
    """Folder in which data files are looked up that do not lie beside the task file."""
    datasets: str | None = None
    """YAML file: where published data sets lie below `data_path`, for the tasks that lm-eval ships; default:
    `datasets.yaml` in `task_path`, if there is one."""
    run: list[TaskRun] = Field(min_length=1)
    """Tasks in the order they are run."""


class RewardAccuracyConfig(Config):
    """How often a reward model prefers the chosen response of held-out pairs. Needs a reward model as `model`."""

    pairs: str
    """JSONL file with `prompt`, `chosen`, `rejected`."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first pairs."""


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


class WinRateConfig(Config):
    """Share of prompts on which a judge prefers this model's response to the reference's; a tie is half a win."""

    prompts: str
    """JSONL file with `prompt` (and `answer` for the rule judge)."""
    rule: str | None = None
    """Judge: a preference rule (`rule.json`)."""
    reward_model: str | None = None
    """Judge: a reward model."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first prompts."""
    sampling: SamplingConfig = SamplingConfig()
    """How both models respond; each prompt has its own seed, the same for both."""

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        if (self.rule is None) == (self.reward_model is None):
            raise ValueError("give exactly one judge: rule or reward_model")
        return self


class KlConfig(Config):
    """KL divergence of the model's responses from the reference's, in nats per response."""

    prompts: str
    """JSONL file with `prompt`."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first prompts."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Longest response, in tokens. Responses are sampled at temperature 1, as the estimate requires."""
    maximum_kl: float | None = Field(default=None, gt=0)
    """Gate: the mean must not exceed this."""


class SamplesConfig(Config):
    """Greedy responses to a few prompts, for people to read."""

    prompts: str
    """JSONL file with `prompt`."""
    count: int = Field(default=8, gt=0)
    """How many."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Longest response, in tokens."""


class GateConfig(Config):
    """A requirement on one score or comparison. It is reported, and does not stop the run."""

    name: str
    """Shown in the report."""
    score: str | None = None
    """`TASK METRIC` of a score of this run, for example `world_instructions exact_match`."""
    comparison: str | None = None
    """Name of a comparison of this run, for example `world_instructions exact_match vs previous`."""
    minimum: float | None = None
    """The value must be at least this."""
    maximum: float | None = None
    """The value must be at most this."""
    interval_excludes_null: bool = False
    """The 95% interval must lie wholly on the better side of the comparison's null value (no difference)."""

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.score is None) == (self.comparison is None):
            raise ValueError("give exactly one of score and comparison")
        if self.minimum is None and self.maximum is None and not self.interval_excludes_null:
            raise ValueError("require something: minimum, maximum or interval_excludes_null")
        if self.score is not None and self.interval_excludes_null:
            raise ValueError("interval_excludes_null needs a comparison: a score alone has no null value")
        return self


BLOCKS = ("bits_per_byte", "tasks", "reward_accuracy", "win_rate", "kl", "samples")


class EvaluationConfig(Config):
    """Score one checkpoint, compare it with the previous stage, apply gates."""

    model: str
    """What is evaluated: a checkpoint or reward-model artifact, or a Hugging Face folder."""
    stage: str | None = None
    """Name of the stage in the scores; default: what the checkpoint's manifest says."""
    previous: str | None = None
    """Checkpoint of the previous stage: for samples, and for comparisons when `previous_scores` is not given."""
    previous_scores: str | None = None
    """Scores of the previous stage: its items are compared with ours one by one, without running it again."""
    reference: str | None = None
    """Opponent in the win rate and origin of the KL divergence; default: `previous`."""
    bits_per_byte: BitsPerByteConfig | None = None
    """Compression of held-out text."""
    tasks: TasksConfig | None = None
    """Multiple choice and generation tasks."""
    reward_accuracy: RewardAccuracyConfig | None = None
    """Accuracy of a reward model."""
    win_rate: WinRateConfig | None = None
    """Judged comparison with the reference."""
    kl: KlConfig | None = None
    """Distance from the reference."""
    samples: SamplesConfig | None = None
    """Responses to read."""
    cache: str | None = None
    """Folder (on a local disk) of answers that checkpoints have given to tasks: a question that this checkpoint was
    asked before, by any run, is not asked again. Runs may share it at the same time."""
    gates: list[GateConfig] = []
    """Requirements; `maximum_ratio_to_unigram` and `maximum_kl` of the blocks add theirs."""
    seed: int = Field(default=0, ge=0)
    """Origin of every random choice: sampled responses, few-shot examples, bootstrap."""
    batch_size: int = Field(default=64, gt=0)
    """Most sequences processed at once; the results do not depend on it."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the models' weights."""
    device: str | None = None
    """Where the models run; default: the GPU if there is one."""
    threads: int | None = Field(default=None, gt=0)
    """CPU threads for torch; null for every core this process may use."""
    maximum_bad_share: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of input rows without a needed field; those are skipped and counted, more stop the run."""

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if all(getattr(self, block) is None for block in BLOCKS):
            raise ValueError(f"nothing to evaluate: give at least one of {', '.join(BLOCKS)}")
        if (self.win_rate or self.kl) and not (self.reference or self.previous):
            raise ValueError("win_rate and kl compare with another model: give reference or previous")
        return self
