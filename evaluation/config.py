"""What one evaluation measures: one checkpoint, optional comparisons, and a block for each kind of measurement."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from evaluation.behaviour_config import (
    AlignmentTaxConfig,
    DialoguesConfig,
    DiversityConfig,
    MemorisationConfig,
    OveroptimisationConfig,
    SafetyConfig,
    SamplingConfig,
)
from evaluation.judge_config import JudgeModelConfig
from evaluation.verified_config import CodeConfig, IfevalConfig
from millbase.config import Config


class DomainsConfig(Config):
    """Bits per byte of groups of documents, by what the corpus knows of them."""

    by: Literal["host", "language", "dump"] = "host"
    """What makes a domain: the host of the address (without `www.`), the language, or the dump."""
    corpus: str | None = None
    """The corpus that the tokens were made from; default: where the token artifact says that it lay."""
    minimum_documents: int = Field(default=10, ge=2)
    """Domains of fewer scored documents are counted together, as `other`."""
    most: int = Field(default=20, gt=0)
    """So are all but this many, the largest ones."""


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
    by_source: bool = True
    """Also give the figure of each source, when the documents come from several."""
    domains: DomainsConfig | None = None
    """Also give the figure of each domain; null for none. Reads two columns of the corpus once."""
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


class MegatronConfig(Config):
    """Ask the distributed checkpoint itself, on ranks of their own, without its Hugging Face export."""

    tensor: int = Field(default=1, gt=0)
    """Tensor-parallel size; it need not be the training run's."""
    pipeline: int = Field(default=1, gt=0)
    """Pipeline-parallel size."""
    threads: int = Field(default=1, gt=0)
    """CPU threads of each rank."""


class VllmConfig(Config):
    """Ask through vLLM (`pip install vllm`), on GPUs."""

    tensor: int = Field(default=1, gt=0)
    """GPUs the model is split over."""
    memory_share: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that it may take."""


class ServerConfig(Config):
    """Ask an OpenAI-compatible server; `model` is then the name the server knows."""

    url: str
    """Where it answers, with the version: `http://localhost:8000/v1`."""
    api_key_variable: str | None = None
    """Name of the environment variable that holds the key; the key itself is never written down."""
    revision: str = ""
    """Anything that tells this model from an earlier one of the same name: it becomes part of the scores' digest."""
    context: int = Field(default=4096, gt=1)
    """Longest sequence of the served model, in tokens, for the record: the server itself refuses or cuts."""
    concurrency: int = Field(default=16, gt=0)
    """Requests under way at once."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """Longest wait for one answer."""
    attempts: int = Field(default=6, gt=0)
    """How often a request is sent before the evaluation stops."""
    wait_seconds: float = Field(default=1.0, ge=0)
    """Pause before the second attempt, on average; it doubles with each."""
    longest_wait_seconds: float = Field(default=60.0, ge=0)
    """Longest pause."""


class RewardAccuracyConfig(Config):
    """How often a reward model prefers the chosen response of held-out pairs. Needs a reward model as `model`."""

    pairs: str
    """JSONL file with `prompt`, `chosen`, `rejected` (a list of texts for best-of-K). A `subset` or `category` gets an
    accuracy of its own; RewardBench's subsets also give its sections and score."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first pairs."""


class WinRateConfig(Config):
    """Share of prompts on which a judge prefers this model's response to the reference's; a tie is half a win."""

    prompts: str
    """JSONL file with `prompt` (and `answer` for the rule judge)."""
    rule: str | None = None
    """Judge: a preference rule (`rule.json`)."""
    reward_model: str | None = None
    """Judge: a reward model."""
    judge_model: JudgeModelConfig | None = None
    """Judge: a language model that sees both responses, in both orders."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first prompts."""
    sampling: SamplingConfig = SamplingConfig()
    """How both models respond; each prompt has its own seed, the same for both."""

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        if sum(judge is not None for judge in (self.rule, self.reward_model, self.judge_model)) != 1:
            raise ValueError("give exactly one judge: rule, reward_model or judge_model")
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
    """A requirement on one score or comparison. It is reported; with `required` it stops a recipe when not met."""

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
    required: bool = False
    """Stop the recipe after this stage when the gate does not pass. The scores are written all the same."""

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.score is None) == (self.comparison is None):
            raise ValueError("give exactly one of score and comparison")
        if self.minimum is None and self.maximum is None and not self.interval_excludes_null:
            raise ValueError("require something: minimum, maximum or interval_excludes_null")
        if self.score is not None and self.interval_excludes_null:
            raise ValueError("interval_excludes_null needs a comparison: a score alone has no null value")
        return self


BLOCKS = (
    "bits_per_byte",
    "tasks",
    "ifeval",
    "code",
    "reward_accuracy",
    "win_rate",
    "kl",
    "safety",
    "dialogues",
    "diversity",
    "memorisation",
    "overoptimisation",
    "samples",
)
ENGINES = ("megatron", "vllm", "server")


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
    ifeval: IfevalConfig | None = None
    """Instructions that a program can check."""
    code: CodeConfig | None = None
    """Programs run against their tests."""
    reward_accuracy: RewardAccuracyConfig | None = None
    """Accuracy of a reward model."""
    win_rate: WinRateConfig | None = None
    """Judged comparison with the reference."""
    kl: KlConfig | None = None
    """Distance from the reference."""
    safety: SafetyConfig | None = None
    """Refusals, of what should be refused and of what should not."""
    dialogues: DialoguesConfig | None = None
    """Conversations of several turns."""
    diversity: DiversityConfig | None = None
    """Variety of several responses to one prompt; compared with the reference's when there is one."""
    memorisation: MemorisationConfig | None = None
    """Training text that can be drawn out of the model."""
    overoptimisation: OveroptimisationConfig | None = None
    """Learned against true reward over the checkpoints of a run."""
    samples: SamplesConfig | None = None
    """Responses to read."""
    alignment_tax: AlignmentTaxConfig | None = None
    """What the stage cost: mean change of the tasks, and of bits per byte, against earlier scores."""
    contamination: str | None = None
    """Contamination artifact (`llmill contamination`) made from scores on the same tasks: each score then also says
    which share of its items the corpus holds, and what it is without them."""
    megatron: MegatronConfig | None = None
    """Tasks ask the Megatron checkpoint on this layout instead of its export."""
    vllm: VllmConfig | None = None
    """Tasks ask through vLLM."""
    server: ServerConfig | None = None
    """Tasks ask a server; `model` is the name it knows, and no other block can run."""
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
        tax = self.alignment_tax
        if tax is not None and not (tax.before or self.previous_scores):
            raise ValueError("alignment_tax compares with earlier scores: give alignment_tax.before or previous_scores")
        if tax is not None and tax.maximum_forgetting is not None and self.bits_per_byte is None:
            raise ValueError("alignment_tax.maximum_forgetting is about bits_per_byte: add that block")
        if tax is not None and not (self.bits_per_byte or self.tasks or self.ifeval or self.code):
            raise ValueError("alignment_tax needs something to compare: add tasks, ifeval, code or bits_per_byte")
        engines = [name for name in ENGINES if getattr(self, name) is not None]
        if len(engines) > 1:
            raise ValueError(f"{' and '.join(engines)}: give at most one")
        if engines and self.tasks is None:
            raise ValueError(f"{engines[0]} answers tasks, and there are none; add tasks, or leave it out")
        others = [block for block in BLOCKS if block != "tasks" and getattr(self, block) is not None]
        if self.server is not None and (others or self.previous or self.reference):
            named = others or ["previous" if self.previous else "reference"]
            raise ValueError(
                f"{', '.join(named)} cannot be asked of a server: evaluate tasks alone, with previous_scores"
            )
        return self
