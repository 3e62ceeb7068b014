"""Who holds what: sizes of the groups, layers of each pipeline stage, micro-batches in flight.

Symbols of the docstrings in this package: t tensor, p pipeline, v model chunks of a pipeline rank, c context, d data,
e expert parallelism; s sequence length, b micro-batch, m micro-batches in a step, h hidden, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.pretrain.models.config import ModelConfig
from training.pretrain.parallel_config import ParallelConfig


@dataclass(frozen=True)
class Precision:
    """Bytes of what training keeps for each weight and each activation."""

    weights: float = 2.0
    gradients: float = 4.0
    """Megatron sums gradients in float32 (`grad_reduce_in_fp32`); a float16 gradient buffer is 2."""
    optimizer: float = 12.0
    """Adam in mixed precision: float32 master weight, mean and variance (Rajbhandari et al. 2020, section 3.1)."""
    muon: float = 8.0
    """Muon: float32 master weight and one momentum."""
    activations: float = 2.0
    dropout: bool = False
    """Dropout after attention and feed-forward layer, whose masks (1 byte each) are kept."""
    flash: bool = True
    """Attention without a score matrix in memory (flash attention, SDPA)."""

    @classmethod
    def of(cls, dtype: str) -> Precision:
        """What our pretrainer keeps with `dtype` bfloat16 or float32 (no second copy of the weights then)."""
        return cls() if dtype == "bfloat16" else cls(4.0, 4.0, 8.0, 4.0, 4.0)

    @property
    def per_weight(self) -> float:
        """Bytes of weight, gradient and optimizer state."""
        return self.weights + self.gradients + self.optimizer


@dataclass(frozen=True)
class Layout:
    """A layout over ranks. Fields as in `ParallelConfig`."""

    tensor: int = 1
    pipeline: int = 1
    chunks: int = 1
    """Model chunks of each pipeline rank (interleaved schedule)."""
    context: int = 1
    expert: int = 1
    expert_tensor: int = 1
    data: int = 1
    sequence_parallel: bool = False
    zero: int = 1
    micro_batch: int = 1
    recompute: str = "none"
    """none, selective, full."""
    recompute_method: str = "uniform"
    recompute_layers: int = 1
    recompute_modules: tuple[str, ...] = ("core_attn",)
    overlap: bool = True
    """Gradients are summed, and weights gathered, beside the computation."""
    first_stage_layers: int | None = None
    last_stage_layers: int | None = None
    scatter_gather: bool = False
    """Without sequence parallelism, send each tensor-parallel rank's part to the next stage and gather it there
    (Narayanan et al. 2021, section 4.1); Megatron-core sends the whole."""

    @classmethod
    def of(cls, parallel: ParallelConfig, micro_batch: int) -> Layout:
        """The layout of a pretraining configuration."""
        again = parallel.recompute
        return cls(
            tensor=parallel.tensor,
            pipeline=parallel.pipeline,
            chunks=parallel.virtual_pipeline,
            context=parallel.context,
            expert=parallel.expert,
            expert_tensor=parallel.expert_tensor or parallel.tensor,
            data=parallel.data,
            sequence_parallel=parallel.sequence_parallel,
            zero=parallel.zero,
            micro_batch=micro_batch,
            recompute=again.granularity,
            recompute_method=again.method,
            recompute_layers=again.layers,
            recompute_modules=tuple(again.modules),
            overlap=parallel.overlap_grad_reduce or parallel.zero > 1,
            first_stage_layers=parallel.first_stage_layers,
            last_stage_layers=parallel.last_stage_layers,
        )

    @property
    def ranks(self) -> int:
        """All of them."""
        return self.tensor * self.pipeline * self.context * self.data

    @property
    def replicas(self) -> int:
        """Ranks that hold the same dense weights: optimizer state is spread over them."""
        return self.context * self.data

    @property
    def expert_replicas(self) -> int:
        """Ranks that hold the same experts."""
        return max(1, self.tensor * self.context * self.data // (self.expert * self.expert_tensor))

    def micro_batches(self, global_batch: int) -> int:
        """Micro-batches of one replica in a step."""
        return max(1, global_batch // (self.micro_batch * self.data))

    def in_flight(self, rank: int, micro_batches: int) -> float:
        """Micro-batches whose activations a pipeline rank keeps at once, as a share of its layers: p - rank with 1F1B;
        interleaved, the chunks of the warm-up and one more, over v (Korthikanti et al. 2022, section 4.2.3: on rank 0,
        p + (p - 1) / v)."""
        if self.chunks == 1:
            return min(micro_batches, self.pipeline - rank)
        warm_up = (self.pipeline - rank - 1) * 2 + (self.chunks - 1) * self.pipeline + 1
        return min(micro_batches * self.chunks, warm_up) / self.chunks


def stage_layers(model: ModelConfig, layout: Layout) -> list[list[int]]:
    """Layer numbers of each pipeline rank. Chunks are dealt in turn, as Megatron does."""
    first, last, size = layout.first_stage_layers, layout.last_stage_layers, layout.pipeline
    middle = size - (first is not None) - (last is not None)
    left = model.layers - (first or 0) - (last or 0)
    each = left // middle if middle else 0
    counts = [each] * size
    for position in range(left - each * middle):  # a plan may be asked for what Megatron refuses: as even as it gets
        counts[position + (first is not None)] += 1
    if first is not None:
        counts[0] = first
    if last is not None:
        counts[-1] = last
    ranks: list[list[int]] = [[] for _ in counts]
    layer = 0
    for chunk in range(layout.chunks):
        for rank, count in enumerate(counts):
            share = count // layout.chunks + (chunk < count % layout.chunks)
            ranks[rank] += range(layer, layer + share)
            layer += share
    return ranks
