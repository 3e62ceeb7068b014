"""The whole plan of a pretraining run as plain values: what `llmill plan` prints, or `--json` gives.

plan_run(Run(config.model, 128_256, 8192, 2048, tokens=15e12), layout, find_gpu("h100"))
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from training.plan.flops import compute_optimal, forward_parts, six_nd, train_flops_per_token
from training.plan.hardware import Gpu
from training.plan.layout import Layout, Precision
from training.plan.memory import RankMemory, rank_memory, worst_rank
from training.plan.timing import StepTime, step_time
from training.pretrain.models.config import ModelConfig
from training.pretrain.parameters import parameter_counts

GIB = 2.0**30


@dataclass(frozen=True)
class Run:
    """What is trained, whatever it is trained on."""

    model: ModelConfig
    vocab_size: int
    sequence_length: int
    global_batch: int
    """Sequences a step."""
    tokens: float
    """Tokens of the whole training."""
    precision: Precision = field(default_factory=Precision)
    optimizer: str = "adamw"

    @property
    def tokens_per_step(self) -> int:
        """Tokens of a step."""
        return self.global_batch * self.sequence_length

    def memory(self, layout: Layout) -> RankMemory:
        """Bytes of the rank that needs most."""
        return worst_rank(
            self.model,
            self.vocab_size,
            self.sequence_length,
            self.global_batch,
            layout,
            self.precision,
            self.optimizer,
        )

    def memory_of(self, layout: Layout, rank: int) -> RankMemory:
        """Bytes of a rank of pipeline stage `rank`."""
        return rank_memory(
            self.model,
            self.vocab_size,
            self.sequence_length,
            self.global_batch,
            layout,
            self.precision,
            rank,
            self.optimizer,
        )

    def time(self, layout: Layout, gpu: Gpu) -> StepTime:
        """Seconds of a step."""
        return step_time(
            self.model, self.vocab_size, self.sequence_length, self.global_batch, layout, self.precision, gpu
        )


def plan_run(run: Run, layout: Layout, gpu: Gpu, price: float | None = None) -> dict[str, Any]:
    """Parameters, work, memory, communication, time and cost of `run` on `layout`."""
    time = run.time(layout, gpu)
    return {
        "gpu": gpu.to_dict(),
        "gpus": layout.ranks,
        "layout": {k: v for k, v in describe(layout).items() if run.model.moe or not k.startswith("expert")},
        "parameters": parameters(run),
        "work": work(run),
        "memory": memory(run, layout, gpu),
        "time": duration(run, layout, gpu, time, price),
        "communication": [asdict(one) for one in time.traffic],
        "assumptions": assumptions(run, layout, gpu),
    }


def describe(layout: Layout) -> dict[str, Any]:
    """The layout under the names of `ParallelConfig`."""
    return {
        "tensor": layout.tensor,
        "pipeline": layout.pipeline,
        "virtual_pipeline": layout.chunks,
        "context": layout.context,
        "expert": layout.expert,
        "expert_tensor": layout.expert_tensor,
        "data": layout.data,
        "sequence_parallel": layout.sequence_parallel,
        "zero": layout.zero,
        "micro_batch_size": layout.micro_batch,
        "recompute": layout.recompute,
        "overlap": layout.overlap,
    }


def parameters(run: Run) -> dict[str, Any]:
    """Weights, all and those one token meets."""
    counts = parameter_counts(run.model, run.vocab_size)
    return {"total": counts.total, "active": counts.active, "multi_token": counts.mtp, "parts": counts.parts}


def work(run: Run) -> dict[str, Any]:
    """Floating-point operations and compute-optimal tokens."""
    counts = parameter_counts(run.model, run.vocab_size)
    exact = train_flops_per_token(run.model, run.vocab_size, run.sequence_length)
    uncut = train_flops_per_token(run.model, run.vocab_size, run.sequence_length, causal=False)
    forward = forward_parts(run.model, run.vocab_size, run.sequence_length)
    optimal = compute_optimal(run.model, run.vocab_size, six_nd(counts.active, run.tokens))
    return {
        "tokens": run.tokens,
        "tokens_per_parameter": run.tokens / counts.active,
        "six_nd": six_nd(counts.active, run.tokens),
        "exact": exact * run.tokens,
        "exact_uncut_attention": uncut * run.tokens,
        "per_token": exact,
        "forward_per_token_by_part": forward,
        "compute_optimal": optimal,
    }


def memory(run: Run, layout: Layout, gpu: Gpu) -> dict[str, Any]:
    """GiB of the fullest rank, by kind, and of every pipeline stage in all."""
    worst = run.memory(layout)
    kinds = ("weights", "gradients", "optimizer", "activations", "output", "working")
    split = {kind: getattr(worst, kind) / GIB for kind in kinds}
    split["allocator"] = (worst.total - worst.reserved) / (1 + worst.fragmentation) * worst.fragmentation / GIB
    split["reserved"] = worst.reserved / GIB
    total = worst.total / GIB
    return {
        "stage": worst.rank,
        "stage_layers": worst.layers,
        "gib": split,
        "total": total,
        "capacity": gpu.memory,
        "fits": total <= gpu.memory,
        "bytes_per_parameter": worst.states / max(1.0, worst.weights / run.precision.weights),
        "micro_batches_in_flight": layout.in_flight(worst.rank, layout.micro_batches(run.global_batch)),
        "layer_activation_mib": {name: value / 2**20 for name, value in worst.parts.items()},
        "stages": [run.memory_of(layout, rank).total / GIB for rank in range(layout.pipeline)],
    }


def mfu(run: Run, seconds: float, gpus: int, gpu: Gpu, causal: bool = True) -> float:
    """Model FLOPs utilisation: operations the model needs (nothing computed twice counts) over what the devices could
    do at their published peak (Chowdhery et al. 2022, appendix B)."""
    each = train_flops_per_token(run.model, run.vocab_size, run.sequence_length, causal)
    return each * run.tokens_per_step / (seconds * gpus * gpu.peak)


def duration(run: Run, layout: Layout, gpu: Gpu, time: StepTime, price: float | None) -> dict[str, Any]:
    """Seconds of a step by part, MFU, days, device-hours, cost."""
    steps = run.tokens / run.tokens_per_step
    hours = steps * time.total / 3600
    cost = gpu.price if price is None else price
    seconds = {"compute": time.compute, "recompute": time.recompute, "bubble": time.bubble}
    seconds |= {f"exposed {kind}": value for kind, value in time.exposed.items()}
    seconds |= {"optimizer": time.optimizer, "lost": time.lost}
    return {
        "step_seconds": time.total,
        "seconds": seconds,
        "bubble_share": time.bubble_share,
        "micro_batches": layout.micro_batches(run.global_batch),
        "tokens_per_second_per_gpu": run.tokens_per_step / time.total / layout.ranks,
        "tflops_per_gpu": mfu(run, time.total, layout.ranks, gpu) * gpu.tflops,
        "mfu": mfu(run, time.total, layout.ranks, gpu),
        "mfu_uncut_attention": mfu(run, time.total, layout.ranks, gpu, causal=False),
        "steps": steps,
        "days": hours / 24,
        "gpu_hours": hours * layout.ranks,
        "cost": None if cost is None else hours * layout.ranks * cost,
    }


def assumptions(run: Run, layout: Layout, gpu: Gpu) -> list[str]:
    """What the figures rest on, in sentences."""
    from training.plan import timing
    from training.plan.communication import LINK_EFFICIENCY
    from training.plan.memory import FRAGMENTATION, RESERVED

    kept = run.precision
    lines = [
        f"{gpu.name}: {gpu.tflops:g} TFLOP/s, {gpu.memory:g} GiB, memory {gpu.bandwidth:g} GB/s, link {gpu.link:g} and "
        f"network {gpu.network:g} GB/s in one direction, {gpu.node} in a node ({gpu.source})",
        f"bytes a weight: {kept.weights:g} weight, {kept.gradients:g} gradient, {kept.optimizer:g} optimizer state",
        f"large matrix products reach {gpu.matmul * timing.MATMUL:.0%} of the peak, collectives {LINK_EFFICIENCY:.0%} "
        f"of a link, memory-bound work {timing.MEMORY:.0%} of the memory's bandwidth; {timing.LOST:.0%} of a step goes "
        "to launches, data and waiting",
        f"driver, NCCL and cuBLAS take {RESERVED / GIB:g} GiB, the allocator's gaps {FRAGMENTATION:.0%}",
        "tensor, context, expert and pipeline communication is not hidden; that of replicas "
        + ("runs beside the computation" if layout.overlap else "is not either (parallel.overlap_grad_reduce: false)"),
        "no failures, restarts or evaluations; MFU counts the attention that a causal kernel does "
        "(mfu_uncut_attention: all of it, as in the papers on PaLM and Megatron)",
    ]
    if run.model.moe:
        lines.append("experts are equally loaded")
    if kept.weights > 2:
        lines.append("times are those of bfloat16 arithmetic; float32 takes longer (set dtype: bfloat16)")
    return lines
