"""How a run is spread over ranks: the layout, what is sharded over replicas, what is computed twice to save memory."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config


class RecomputeConfig(Config):
    """Activations thrown away in the forward pass and computed again in the backward pass."""

    granularity: Literal["none", "selective", "full"] = "none"
    """`selective`: the parts of each layer named in `modules`; `full`: whole layers (Chen et al. 2016; Korthikanti et
    al. 2022, section 5). Neither changes a result."""
    method: Literal["uniform", "block"] = "uniform"
    """`full` only. `uniform`: all layers, with activations kept every `layers` layers; `block`: the first `layers`
    layers of each model chunk, the others keep theirs."""
    layers: int = Field(default=1, gt=0)
    """`full` only: layers in a group (`uniform`) or layers recomputed in each chunk (`block`)."""
    modules: list[Literal["core_attn", "layernorm", "mlp", "moe", "moe_act", "mla_up_proj"]] = ["core_attn"]
    """`selective` only: `core_attn` the attention itself, `mlp` the dense feed-forward, `moe` the whole expert layer,
    `moe_act`, `layernorm` and `mla_up_proj` activations that are cheap to make again."""


class ParallelConfig(Config):
    """How the model and the batch are spread over ranks; tensor * pipeline * context * data ranks are started."""

    tensor: int = Field(default=1, gt=0)
    """Tensor-parallel size: each matrix is split over this many ranks."""
    pipeline: int = Field(default=1, gt=0)
    """Pipeline-parallel size: the layers are split over this many ranks (1F1B, Narayanan et al. 2021)."""
    virtual_pipeline: int = Field(default=1, gt=0)
    """Model chunks of each pipeline rank: over 1, the schedule is interleaved, and the bubble shrinks by this factor
    (Narayanan et al. 2021, section 2.2). Needs pipeline > 1."""
    first_stage_layers: int | None = Field(default=None, gt=0)
    """Layers of the first pipeline stage, where it should differ from the others (it also holds the embedding)."""
    last_stage_layers: int | None = Field(default=None, gt=0)
    """Layers of the last pipeline stage, where it should differ from the others (it also holds the output layer)."""
    context: int = Field(default=1, gt=0)
    """Context-parallel size: each sequence is split over this many ranks, two pieces each (the i-th from the start and
    the i-th from the end, so that causal attention costs all the same)."""
    expert: int = Field(default=1, gt=0)
    """Expert-parallel size: the experts are spread over this many ranks, taken from tensor * context * data."""
    expert_tensor: int | None = Field(default=None, gt=0)
    """Tensor-parallel size inside an expert; default `tensor`."""
    data: int = Field(default=1, gt=0)
    """Data-parallel size: the batch is split over this many replicas."""
    sequence_parallel: bool = False
    """Split the activations between the matrices along the sequence too (needs tensor > 1)."""
    zero: Literal[0, 1, 2, 3] = 1
    """What is spread over the replicas (Rajbhandari et al. 2020): 0 nothing, 1 the optimizer's state, 2 also the
    gradients, 3 also the weights. 2 and 3 without pipeline and expert parallelism, and with AdamW."""
    overlap_grad_reduce: bool = False
    """Sum gradients over replicas bucket by bucket while the backward pass still runs."""
    overlap_param_gather: bool = False
    """Gather updated weights from replicas while the next forward pass already runs (needs zero >= 1 and
    overlap_grad_reduce)."""
    bucket_size: int | None = Field(default=None, gt=0)
    """Weights a bucket, for the two overlaps; default: Megatron's, 40 million or a million for each replica."""
    recompute: RecomputeConfig = RecomputeConfig()
    """Activations that are not kept."""
    threads: int = Field(default=1, gt=0)
    """CPU threads of each rank."""

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.tensor * self.pipeline * self.context * self.data

    @property
    def chunks(self) -> int:
        """Pieces the layers are cut into: pipeline ranks times chunks of each."""
        return self.pipeline * self.virtual_pipeline

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        experts_tensor = self.expert_tensor or self.tensor
        ranks = self.tensor * self.context * self.data
        checks = [
            (
                self.sequence_parallel and self.tensor == 1,
                "sequence_parallel needs tensor > 1; switch it off or raise tensor",
            ),
            (
                self.virtual_pipeline > 1 and self.pipeline == 1,
                f"virtual_pipeline {self.virtual_pipeline} needs pipeline > 1; raise it or set virtual_pipeline 1",
            ),
            (
                (self.first_stage_layers or self.last_stage_layers) and self.pipeline == 1,
                "first_stage_layers and last_stage_layers need pipeline > 1; unset them or raise pipeline",
            ),
            (
                ranks % (self.expert * experts_tensor),
                f"expert {self.expert} * expert_tensor {experts_tensor} does not divide tensor * context * data = "
                f"{ranks}; change one of them",
            ),
            (
                self.overlap_param_gather and not (self.zero and self.overlap_grad_reduce),
                "overlap_param_gather needs overlap_grad_reduce and zero >= 1; switch it off or set those",
            ),
        ]
        for wrong, message in checks:
            if wrong:
                raise ValueError(message)
        return self
