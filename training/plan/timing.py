"""How long a step takes: matrix products at the rate such products reach, memory-bound parts at the memory's rate,
communication that nothing hides, the pipeline's bubble, the optimizer.

Constants that are no data sheet's stand at the top. They were chosen once, for all of the published runs that
tests/training/plan/test_published.py compares with (its bounds say how well that works), not for each.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.plan.communication import Traffic, boundary_traffic, micro_batch_traffic, replica_traffic
from training.plan.flops import attention_widths, layer_forward, mtp_forward, output_forward
from training.plan.hardware import Gpu
from training.plan.layout import Layout, Precision, stage_layers
from training.plan.memory import layer_kinds, padded, rank_weights
from training.pretrain.models.config import ModelConfig

MATMUL = 0.92
"""Rate of a layer's matrix products beside the best that any reaches (`Gpu.matmul`)."""
NARROW = 160.0
"""A product whose narrowest side is n wide runs at n / (n + this) of that rate: small pieces fill a device badly."""
FLASH = 0.7
"""Rate of flash attention beside matrix products (FlashAttention-2, Dao 2023, table 1: up to 225 of 312 TFLOP/s)."""
EXPERTS = 0.8
"""Rate of grouped expert products beside dense ones."""
MEMORY = 0.75
"""Share of the memory's bandwidth that norms, activations and the optimizer reach."""
OPTIMIZER_BYTES = 34.0
"""Bytes a weight that a step of Adam moves: master weight, mean and variance both ways, gradient, norm, weight."""
LOST = 0.03
"""Share of a step that goes to launches, data, logging and waiting for the slowest rank."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step, of the slowest rank."""

    compute: float
    """Forward and backward of all micro-batches, without communication."""
    recompute: float
    """Forward passes done again."""
    bubble: float
    """Waiting for the pipeline to fill and drain."""
    exposed: dict[str, float]
    """Communication that nothing hides, by kind."""
    optimizer: float
    lost: float
    traffic: list[Traffic]
    """All communication of a rank, hidden or not."""
    bubble_share: float
    """(p - 1) / (v m): bubble beside the work (Narayanan et al. 2021, section 2.2)."""

    @property
    def total(self) -> float:
        """The step."""
        return sum((self.compute, self.recompute, self.bubble, self.optimizer, self.lost, *self.exposed.values()))


def step_time(
    model: ModelConfig,
    vocab_size: int,
    sequence_length: int,
    global_batch: int,
    layout: Layout,
    precision: Precision,
    gpu: Gpu,
) -> StepTime:
    """Seconds of a step of `global_batch` sequences."""
    count = layout.micro_batches(global_batch)
    stages = stage_layers(model, layout)
    last = layout.pipeline - 1
    best, extra, chosen = 0.0, 0.0, last
    for rank in sorted({0, min(1, last), last}):  # the slowest stage sets the pace
        forward, again = _stage(model, vocab_size, sequence_length, layout, precision, gpu, stages[rank], rank == last)
        if 3 * forward + again > best:
            best, extra, chosen = 3 * forward + again, again, rank
    inner = micro_batch_traffic(model, sequence_length, layout, precision, gpu, stages[chosen])
    boundary = boundary_traffic(model, sequence_length, layout, precision, gpu)
    weights = rank_weights(model, vocab_size, layout, chosen)
    outer = replica_traffic(weights, layout, precision, gpu, count)
    once = best + sum(one.seconds for one in inner) + (2 * boundary.seconds if boundary else 0.0)
    exposed = {one.kind: count * one.seconds for one in inner}
    if boundary:
        # with one stage waiting for the other, sender and receiver both stand still
        exposed["pipeline"] = count * 2 * boundary.seconds
    hidden = _hiding_time(layout, once, count)
    for one in outer:
        exposed[one.kind] = max(0.0, one.seconds - hidden)
        hidden = max(0.0, hidden - one.seconds)
    owned = sum(
        amount / (replicas if layout.zero else 1)
        for amount, replicas in ((weights.dense, layout.replicas), (weights.experts, layout.expert_replicas))
    )
    optimizer = owned * OPTIMIZER_BYTES / (gpu.bandwidth * 1e9 * MEMORY)
    bubble = once * last / layout.chunks
    total = once * count + bubble + optimizer + sum(exposed[one.kind] for one in outer)
    traffic = [_times(one, count) for one in inner] + ([_times(boundary, count)] if boundary else []) + outer
    return StepTime(
        compute=count * (best - extra),
        recompute=count * extra,
        bubble=bubble,
        exposed=exposed,
        optimizer=optimizer,
        lost=LOST * total,
        traffic=traffic,
        bubble_share=last / (layout.chunks * count),
    )


def _hiding_time(layout: Layout, once: float, count: int) -> float:
    """Seconds of computation that the replicas' communication may run beside: with overlap, the last backward and the
    first forward pass; with ZeRO-2 and 3, which communicate in each, all of them."""
    if not layout.overlap and layout.zero < 3:
        return 0.0
    return once * (count if layout.zero >= 3 or (layout.zero == 2 and layout.pipeline == 1) else 1)


def _times(one: Traffic, count: int) -> Traffic:
    return Traffic(one.kind, one.what, one.bytes * count, one.seconds * count, one.link)


def _stage(
    model: ModelConfig,
    vocab_size: int,
    sequence_length: int,
    layout: Layout,
    precision: Precision,
    gpu: Gpu,
    layers: list[int],
    last: bool,
) -> tuple[float, float]:
    """Seconds of one micro-batch through a stage: (forward, forward done again in the backward pass)."""
    tokens = sequence_length * layout.micro_batch / layout.context
    forward = again = 0.0
    group = max(1, len(layers) // layout.chunks)
    share = min(1.0, layout.recompute_layers / group) if layout.recompute_method == "block" else 1.0
    for layer, times in layer_kinds(model, layers).items():
        products, scores, memory = _layer(model, layer, sequence_length, tokens, layout, precision, gpu)
        forward += times * (sum(products.values()) + scores + memory)
        if layout.recompute == "full":
            again += times * share * (sum(products.values()) + scores + memory)
        elif layout.recompute == "selective":
            again += times * _selective(layout, products, scores, memory)
    if last:
        rate = gpu.peak * gpu.matmul * MATMUL
        rows = padded(model, vocab_size)
        work = output_forward(model, rows) + mtp_forward(model, rows, sequence_length, not model.masked_lm)
        forward += tokens * work / layout.tensor / rate
        forward += tokens * 12 * rows / layout.tensor / (gpu.bandwidth * 1e9 * MEMORY)
    return forward, again


def _selective(layout: Layout, products: dict[str, float], scores: float, memory: float) -> float:
    seconds = scores if "core_attn" in layout.recompute_modules else 0.0
    if {"mlp", "moe"} & set(layout.recompute_modules):
        seconds += products["feed_forward"]
    if {"layernorm", "moe_act"} & set(layout.recompute_modules):
        seconds += memory / 2
    return seconds


def _layer(
    model: ModelConfig,
    layer: int,
    sequence_length: int,
    tokens: float,
    layout: Layout,
    precision: Precision,
    gpu: Gpu,
) -> tuple[dict[str, float], float, float]:
    """Seconds of a layer's forward pass: (matrix products by part, attention scores, memory-bound rest)."""
    parts = layer_forward(model, layer, sequence_length, causal=precision.flash)
    rate = gpu.peak * gpu.matmul * MATMUL
    queries, _ = attention_widths(model)
    moe = model.moe if model.is_moe_layer(layer) else None
    width = moe.ffn_hidden_size / layout.expert_tensor if moe else model.ffn_hidden_size / layout.tensor
    products = {
        "projections": parts["projections"] / layout.tensor * tokens / (rate * _wide(queries / layout.tensor)),
        "feed_forward": parts["feed_forward"] / layout.tensor * tokens / (rate * _wide(width)),
    }
    if moe:
        products["feed_forward"] /= EXPERTS
    scores = parts["scores"] / layout.tensor * tokens / (rate * (FLASH if precision.flash else 0.8))
    split = layout.tensor if layout.sequence_parallel else 1
    size, hidden = precision.activations, model.hidden_size
    keys = 0 if model.mla else 2 * model.query_groups * model.kv_channels
    # two norms (read, write), two residual sums (read twice, write); rotation of queries and keys; activation
    moved = (10 + (2 if precision.dropout else 0)) * size * hidden / split
    moved += 2 * size * (queries + keys) / layout.tensor
    active = model.moe.ffn_hidden_size * (model.moe.top_k + model.moe.shared_experts) if model.moe and moe else 0
    moved += (3 if model.gated else 2) * size * (active or model.ffn_hidden_size) / layout.tensor
    if moe:
        moved += 6 * size * hidden * moe.top_k / split  # sorted by expert, and back with weights
    if not precision.flash:  # scores written, softmax and dropout read and write, read again
        moved += (6 if precision.dropout else 4) * size * model.heads * sequence_length / layout.tensor
    return products, scores, tokens * moved / (gpu.bandwidth * 1e9 * MEMORY)


def _wide(width: float) -> float:
    return width / (width + NARROW)
