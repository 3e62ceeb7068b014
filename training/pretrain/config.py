"""Configuration of pretraining: the model, the layout over ranks, the data, the optimizer, the checkpoints.

Every field has a documented default except `data.tokens`. What one field can check alone is checked when the
configuration is made; what needs the data or the machine (vocabulary, token counts, cores) in `checks.py`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from millbase.config import Config
from training.launch.config import LauncherConfig
from training.pretrain.data_config import DataConfig, EvaluationConfig, step_range
from training.pretrain.layout import check_layout
from training.pretrain.models.checks import check_model
from training.pretrain.models.config import ModelConfig
from training.pretrain.optimizer_config import BatchRampConfig, OptimizerConfig, ScheduleConfig
from training.pretrain.parallel_config import ParallelConfig
from training.pretrain.run_config import CheckpointConfig, GuardConfig


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
    launcher: LauncherConfig = LauncherConfig()
    """Where the ranks are started."""
    guard: GuardConfig = GuardConfig()
    """What happens when the loss goes wrong or a rank hangs."""
    steps: int = Field(default=1000, gt=0)
    """Optimizer steps."""
    global_batch_size: int = Field(default=32, gt=0)
    """Sequences a step, over all ranks."""
    batch_ramp: BatchRampConfig = BatchRampConfig()
    """A smaller batch at the start of training."""
    micro_batch_size: int = Field(default=8, gt=0)
    """Sequences a rank takes through the model at a time; changes speed and memory, not the result."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights in the forward pass; bfloat16 keeps float32 main weights and optimizer state."""
    fp8: Literal["none", "e4m3", "hybrid"] = "none"
    """Multiply matrices in 8 bits, through Transformer Engine on a GPU that can: `hybrid` takes e4m3 forward and e5m2
    for gradients. Needs dtype bfloat16."""
    kernels: Literal["auto", "torch", "transformer_engine"] = "auto"
    """Where the layers' kernels come from: Transformer Engine (fused norms with linear layers, its attention), or torch
    (flash attention, compiled gates, rotations and losses). `auto`: Transformer Engine where it is installed and there
    is a GPU. Checkpoints fit both."""
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """How exactly float32 matrices are multiplied in training steps (torch.set_float32_matmul_precision): `high` uses
    TF32 on GPUs, `medium` bfloat16 with float32 sums on CPUs that have it (about twice as fast). Evaluation and export
    always use `highest`."""
    log_every: int = Field(default=10, gt=0)
    """Steps between two lines of metrics."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights and of the order of the data."""
    skip_steps: list[str] = []
    """Steps to pass over, as `A:B` (A to B - 1, the first step is 0): their sequences are not trained on and the
    weights stay as they are. Every other step keeps its number, its sequences and its learning rate."""

    @field_validator("skip_steps", mode="before")
    @classmethod
    def _ranges(cls, value: Any) -> Any:
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                raise ValueError(f"{text!r} is no range of steps; write ['A:B'] in quotes, for YAML reads 1:20 as 80")
            step_range(text)
        return value

    @model_validator(mode="after")
    def _layout_fits(self) -> Self:
        check_model(self)
        check_layout(self)
        if self.schedule.warmup_steps >= self.steps:
            raise ValueError(
                f"schedule.warmup_steps {self.schedule.warmup_steps} must be less than steps {self.steps}; lower it"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """What must be equal for one run to continue another: the weights' shapes, the seed, what the loss counts."""
        return {
            "model": self.model.to_dict(),
            "data": {
                name: getattr(self.data, name) for name in ("mask_across_documents", "mask_loss_at_document_start")
            },
            "dtype": self.dtype,
            "seed": self.seed,
        }

    def skipped(self, step: int) -> bool:
        """True when `skip_steps` names optimizer step `step`."""
        return any(step in step_range(text) for text in self.skip_steps)

    def stage(self) -> dict[str, Any]:
        """What may change from one stage of a training to the next; see `data.history`."""
        ramp = self.batch_ramp.to_dict()
        return {
            "sequence_length": self.data.sequence_length,
            "global_batch_size": self.global_batch_size,
            "batch_ramp": ramp,
        }

    def trajectory(self) -> dict[str, Any]:
        """What decides the loss curve from the start: everything but the layout, the logging, the saving and what may
        change while a run goes on (the mixture ahead, steps to skip, guards)."""
        free = {
            "parallel",
            "micro_batch_size",
            "log_every",
            "checkpoint",
            "evaluation",
            "guard",
            "skip_steps",
            "launcher",
        }
        fields = self.model_dump(mode="json", exclude=free)
        fields["data"] = {k: v for k, v in fields["data"].items() if k not in ("sources", "schedule", "prefetch")}
        return fields | {"resume_from": self.checkpoint.resume_from, "weights_from": self.checkpoint.weights_from}
