"""Configuration of pretraining: the model, the layout over ranks, the data, the optimizer, the checkpoints.

Every field has a documented default except `data.tokens`. What one field can check alone is checked when the
configuration is made; what needs the data or the machine (vocabulary, token counts, cores) in `checks.py`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config


class ModelConfig(Config):
    """A decoder of the Llama family: RMSNorm, rotary positions, SwiGLU, grouped-query attention, no biases."""

    layers: int = Field(default=6, gt=0)
    """Number of transformer layers."""
    hidden_size: int = Field(default=192, gt=0)
    """Width of the residual stream."""
    ffn_hidden_size: int = Field(default=512, gt=0)
    """Width of the gated feed-forward layer (each of its two halves)."""
    heads: int = Field(default=6, gt=0)
    """Attention (query) heads."""
    kv_heads: int = Field(default=2, gt=0)
    """Key/value heads: equal to `heads` for plain multi-head attention, 1 for multi-query attention."""
    head_dim: int | None = Field(default=None, gt=0)
    """Width of a head; default `hidden_size / heads`."""
    qk_norm: bool = False
    """RMSNorm on queries and keys. With it the export is a Qwen3 model, without it a Llama model."""
    tied_embeddings: bool = True
    """Use the input embedding as the output projection as well."""
    rope_theta: float = Field(default=10_000.0, gt=1.0)
    """Base of the rotary position frequencies (Su et al. 2021)."""
    norm_epsilon: float = Field(default=1e-5, gt=0)
    """Epsilon of every RMSNorm."""
    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights; projections back into the residual stream get
    init_std / sqrt(2 * layers) (GPT-2, Radford et al. 2019, section 2.3)."""
    vocab_multiple: int = Field(default=128, gt=0)
    """The embedding is padded to a multiple of this many rows; padding rows are not exported."""

    @property
    def kv_channels(self) -> int:
        """Width of one attention head."""
        return self.head_dim or self.hidden_size // self.heads

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.head_dim is None and self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by heads {self.heads}; change one or set head_dim"
            )
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}; change one of them")
        if self.kv_channels % 2:
            raise ValueError(f"a head of odd width {self.kv_channels} cannot be rotated; make head_dim even")
        return self


class ParallelConfig(Config):
    """How the model and the batch are spread over ranks; tensor * pipeline * data ranks are started."""

    tensor: int = Field(default=1, gt=0)
    """Tensor-parallel size: each matrix is split over this many ranks."""
    pipeline: int = Field(default=1, gt=0)
    """Pipeline-parallel size: the layers are split over this many ranks."""
    data: int = Field(default=1, gt=0)
    """Data-parallel size: the batch is split over this many replicas."""
    sequence_parallel: bool = False
    """Split the activations between the matrices along the sequence too (needs tensor > 1)."""
    distributed_optimizer: bool = True
    """Spread the optimizer's state over the data-parallel replicas (ZeRO stage 1)."""
    threads: int = Field(default=1, gt=0)
    """CPU threads of each rank."""

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.tensor * self.pipeline * self.data

    @model_validator(mode="after")
    def _sequence_parallel_fits(self) -> Self:
        if self.sequence_parallel and self.tensor == 1:
            raise ValueError("sequence_parallel needs tensor > 1; switch it off or raise tensor")
        return self


class DataConfig(Config):
    """What is read: token shards, cut into sequences."""

    tokens: str
    """The `tokens` artifact to train on."""
    sequence_length: int = Field(default=256, gt=1)
    """Tokens a sequence; also the exported model's context length."""
    mask_across_documents: bool = False
    """Let no token attend to another document packed into its sequence. (Rotary positions are relative, so
    within a document this equals restarting the positions.)"""
    mask_loss_at_document_start: bool = False
    """Leave the first token of a document out of the training loss: nothing before it says what it will be."""


class OptimizerConfig(Config):
    """AdamW (Loshchilov & Hutter 2019); weight decay acts on matrices only, not on norms."""

    learning_rate: float = Field(default=3e-3, gt=0)
    """Highest learning rate, reached after the warm-up."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the second moment."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Adam's epsilon."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of matrices."""
    clip_grad: float = Field(default=1.0, ge=0)
    """Largest global gradient norm; 0 switches clipping off."""


class ScheduleConfig(Config):
    """Learning rate over the steps."""

    kind: Literal["cosine", "wsd", "constant"] = "cosine"
    """After the linear warm-up: `cosine` to the minimum at the last step; `wsd` (warm-up, stable, decay): constant,
    then linear to the minimum over the last `decay_fraction` of the steps; `constant`."""
    warmup_steps: int = Field(default=20, ge=0)
    """Steps of linear warm-up from 0."""
    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    """`wsd` only: the share of all steps in which the rate decays."""
    minimum_ratio: float = Field(default=0.1, ge=0, le=1)
    """Last learning rate as a share of the highest."""


class EvaluationConfig(Config):
    """Loss on the held-out split during training."""

    every_steps: int = Field(default=100, gt=0)
    """Steps between two evaluations; there is one at the end in any case."""
    tokens: int = Field(default=32_768, gt=0)
    """Held-out documents are read, in their stored order, until they hold this many tokens."""


class CheckpointConfig(Config):
    """When the training state is saved, and where to continue from."""

    every_steps: int = Field(default=200, gt=0)
    """Steps between two checkpoints; the last step is saved in any case."""
    keep: int = Field(default=2, gt=0)
    """Newest checkpoints kept while the run goes on."""
    resume_from: str | None = None
    """Continue from this finished pretraining artifact, or from the work directory of an unfinished one, with its
    optimizer state and place in the data. Steps, schedule, optimizer and layout may differ from that run's; model,
    tokens, seed, sequence length and batch size may not. An interrupted run needs no setting: start it again."""


class PretrainConfig(Config):
    """Pretrain a language model with Megatron-core on token shards."""

    data: DataConfig
    """What is read."""
    model: ModelConfig = ModelConfig()
    """The model."""
    parallel: ParallelConfig = ParallelConfig()
    """The layout over ranks."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimizer."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The learning rate over the steps."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """The held-out loss."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Saving and resuming."""
    steps: int = Field(default=1000, gt=0)
    """Optimizer steps."""
    global_batch_size: int = Field(default=32, gt=0)
    """Sequences a step, over all ranks."""
    micro_batch_size: int = Field(default=8, gt=0)
    """Sequences a rank takes through the model at a time; changes speed and memory, not the result."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights in the forward pass; bfloat16 keeps float32 main weights and optimizer state."""
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """How exactly float32 matrices are multiplied in training steps (torch.set_float32_matmul_precision): `high` uses
    TF32 on GPUs, `medium` bfloat16 with float32 sums on CPUs that have it (about twice as fast). Evaluation and export
    always use `highest`."""
    log_every: int = Field(default=10, gt=0)
    """Steps between two lines of metrics."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights and of the order of the data."""

    @model_validator(mode="after")
    def _layout_fits(self) -> Self:
        problems = []
        model, layout = self.model, self.parallel
        if layout.tensor > 1:
            for name in ("heads", "kv_heads", "ffn_hidden_size", "vocab_multiple"):
                if getattr(model, name) % layout.tensor:
                    problems.append(f"model.{name} {getattr(model, name)}")
            if layout.sequence_parallel and self.data.sequence_length % layout.tensor:
                problems.append(f"data.sequence_length {self.data.sequence_length}")
        if problems:
            raise ValueError(
                f"{', '.join(problems)} not divisible by parallel.tensor {layout.tensor}; change one of them"
            )
        if model.layers % layout.pipeline:
            raise ValueError(
                f"model.layers {model.layers} is not divisible by parallel.pipeline {layout.pipeline}; change one"
            )
        share = self.micro_batch_size * layout.data
        if self.global_batch_size % share:
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is not divisible by micro_batch_size "
                f"{self.micro_batch_size} * parallel.data {layout.data} = {share}; change one of them"
            )
        if self.schedule.warmup_steps >= self.steps:
            raise ValueError(
                f"schedule.warmup_steps {self.schedule.warmup_steps} must be less than steps {self.steps}; lower it"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """What must be equal for one run to continue another: the weights' shapes and the order of the data."""
        return {
            "model": self.model.to_dict(),
            "data": self.data.model_dump(mode="json", exclude={"tokens"}),
            "global_batch_size": self.global_batch_size,
            "dtype": self.dtype,
            "seed": self.seed,
        }

    def trajectory(self) -> dict[str, Any]:
        """What decides the loss curve: everything but the layout, the logging and the saving."""
        fields = self.model_dump(
            mode="json", exclude={"parallel", "micro_batch_size", "log_every", "checkpoint", "evaluation"}
        )
        return fields | {"resume_from": self.checkpoint.resume_from}
