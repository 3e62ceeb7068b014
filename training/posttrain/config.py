"""Configuration that every TRL stage shares: starting model, data, optimisation, evaluation, resume."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from millbase.config import Config
from training.posttrain.data import MAX_BAD_SHARE


class LoraConfig(Config):
    """Low-rank adapters (Hu et al. 2021) on every linear layer; merged into the weights of the checkpoint written."""

    rank: int = Field(default=16, gt=0)
    """Rank of the adapters."""
    alpha: float = Field(default=32.0, gt=0)
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapters."""
    dora: bool = False
    """Learn the length of each weight's columns apart from their direction (DoRA, Liu et al. 2024): closer to full
    training at low ranks, slower."""


class PosttrainConfig(Config):
    """Fields common to supervised fine-tuning, reward model and DPO."""

    model: str
    """Starting point: a `checkpoint` artifact, or a Hugging Face model folder with its tokenizer."""
    tokenizer: str | None = None
    """Tokenizer folder whose chat template is used instead of the checkpoint's; its vocabulary must be the same."""

    chat_template: str | None = None
    """Chat template to train with and to save with the model: `chatml` (that of llmill's own tokenizers), `llama3`,
    `qwen`, `alpaca`, or a Jinja file that marks the assistant's spans by `{% generation %}`. null for the tokenizer's
    own."""

    data: str | list[str]
    """Training files: paths or globs (.jsonl, .json, .parquet, .arrow; .gz or .zst), local or remote; of a data set on
    the Hugging Face hub `hf://datasets/OWNER/NAME/**/*.parquet`."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Use this share of the training rows, drawn with the seed."""
    limit: int | None = Field(default=None, gt=0)
    """Use at most this many training rows, drawn with the seed; null for all."""
    max_bad_share: float = Field(default=MAX_BAD_SHARE, ge=0, le=1)
    """Unusable rows are counted and skipped; more than this share of them stops the stage."""
    eval_data: str | list[str] | None = None
    """Validation files; null for none (see eval_share)."""
    eval_share: float = Field(default=0.0, ge=0, lt=1)
    """Without eval_data: hold out this share of the training prompts for validation. The choice depends on the prompt's
    text alone, so stages with the same data hold out the same prompts. The rows are written to `heldout.jsonl.gz`."""
    eval_limit: int | None = Field(default=512, gt=0)
    """Validate on at most this many rows; null for all."""

    max_length: int | None = Field(default=None, gt=0)
    """Longest sequence in tokens, prompt and answer together; null for the model's context length."""
    too_long: Literal["truncate", "drop"] = "truncate"
    """What to do with a longer row: cut the end of the answer, or leave the row out. A prompt is never cut: a row whose
    prompt fills max_length is left out. Both are counted in the manifest."""

    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate of AdamW."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the learning rate rises linearly from 0."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after warm-up: down to 0 along a cosine or a line, or constant."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay (not on norms and biases)."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients are scaled down to this norm; 0 for no clipping."""
    batch_size: int = Field(default=64, gt=0)
    """Rows per optimizer step."""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """Rows per forward pass; gradients are accumulated over batch_size / micro_batch_size of them. null: all rows that
    a process has in a step."""
    processes: int = Field(default=1, gt=0)
    """Data-parallel processes, one GPU each (on CPUs, a share of the cores each): every one holds the whole model and
    trains on its part of a step's rows. `llmill sft`, `reward` and `dpo`; the number changes results by rounding
    only."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the training rows."""
    max_steps: int | None = Field(default=None, gt=0)
    """Optimizer steps; overrides epochs."""
    length_window: int = Field(default=8, ge=1)
    """Rows of this many consecutive batches are sorted by length before they are cut into batches, so that rows of a
    batch need little padding; the batches are then shuffled. 1 keeps the plain random order."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about 30% more time."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the forward pass; weights and optimizer stay float32. auto: bfloat16 on a GPU, float32 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    threads: int | None = Field(default=None, gt=0)
    """CPU threads for torch, of each process; null for every core this process may use, shared out among
    `processes`."""
    lora: LoraConfig | None = None
    """Train low-rank adapters instead of all weights; null trains all."""
    seed: int = Field(default=0, ge=0)
    """Seed of the data order, of row selection and of new weights."""

    log_every: int = Field(default=10, gt=0)
    """Steps between lines of metrics.jsonl; values are means over those steps."""
    eval_every: int | None = Field(default=None, gt=0)
    """Steps between validations; null for ten in a run, or fewer where they would read more rows than training does
    (a forward pass costs a third of a training step). One before the first step and one after the last always run."""
    save_every: int = Field(default=100, gt=0)
    """Steps between checkpoints to resume from; a multiple of log_every."""

    @model_validator(mode="after")
    def _check(self) -> PosttrainConfig:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size = {self.batch_size} is not a multiple of micro_batch_size = {self.micro_batch_size}"
            )
        if self.batch_size % (self.processes * (self.micro_batch_size or 1)):
            micro = f" x micro_batch_size = {self.micro_batch_size}" if self.micro_batch_size else ""
            raise ValueError(
                f"batch_size = {self.batch_size} is not a multiple of processes = {self.processes}{micro}; "
                "every process must have the same number of rows in a step"
            )
        if self.save_every % self.log_every:
            raise ValueError(
                f"save_every = {self.save_every} is not a multiple of log_every = {self.log_every}; "
                "a resumed run would log other means than one that was not interrupted"
            )
        if self.eval_data is not None and self.eval_share:
            raise ValueError(f"eval_data is given and eval_share = {self.eval_share}; set one of the two")
        return self

    @property
    def micro_rows(self) -> int:
        """Rows per forward pass."""
        return self.micro_batch_size or self.batch_size // self.processes
