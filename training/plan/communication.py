"""What ranks send one another in a step: bytes by kind, and the time they take alone.

Bytes are what one rank sends (and receives) with ring algorithms: an all-gather or reduce-scatter of n bytes over r
ranks moves n (r - 1) / r, an all-reduce twice that, an all-to-all n (r - 1) / r.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.plan.hardware import Gpu
from training.plan.layout import Layout, Precision
from training.plan.memory import RankWeights
from training.pretrain.models.config import ModelConfig

LINK_EFFICIENCY = 0.8
"""Share of a link's rate that large collectives reach (NCCL's bus bandwidth: about 360 of NVLink 4's 450 GB/s)."""


@dataclass(frozen=True)
class Traffic:
    """One kind of communication of one rank in a step."""

    kind: str
    """tensor, pipeline, data, context, expert."""
    what: str
    """The operations, in words."""
    bytes: float
    seconds: float
    """Without anything beside it."""
    link: str
    """`node` when the whole group lies in one node, else `network`."""


def group_rate(gpu: Gpu, size: int, stride: int) -> tuple[float, str]:
    """(bytes/s of a rank, link) of a group of `size` ranks that lie `stride` apart.

    Where k of them share a node, NCCL's rings leave it over all their k network cards, so that the group is k times as
    fast as one card, up to the rate of the node's links.
    """
    if (size - 1) * stride < gpu.node:
        return gpu.link * 1e9 * LINK_EFFICIENCY, "node"
    together = max(1, min(size, gpu.node // stride))
    return min(gpu.link, together * gpu.network) * 1e9 * LINK_EFFICIENCY, "network"


def micro_batch_traffic(
    model: ModelConfig, sequence_length: int, layout: Layout, precision: Precision, gpu: Gpu, layers: list[int]
) -> list[Traffic]:
    """Tensor, context and expert parallelism, forward and backward of one micro-batch through `layers` on one rank."""
    tokens = sequence_length * layout.micro_batch / layout.context
    stream = tokens * model.hidden_size * precision.activations
    again = 1.0 if layout.recompute == "full" else 0.0
    found = []
    if layout.tensor > 1:
        # Forward, twice a layer: an all-reduce, or all-gather and reduce-scatter with sequence parallelism, which move
        # as much. Backward the same; sequence parallelism gathers the inputs again for the weights' gradients.
        rounds = 2 * 2 * (2 + again) + (2 if layout.sequence_parallel else 0)
        what = "all-gather, reduce-scatter" if layout.sequence_parallel else "all-reduce"
        volume = len(layers) * rounds * stream * _ring(layout.tensor)
        found.append(_traffic("tensor", what, volume, gpu, layout.tensor, 1))
    if layout.context > 1:
        keys = model.heads * _mla_width(model) if model.mla else 2 * model.query_groups * model.kv_channels
        whole = tokens * layout.context * keys / layout.tensor * precision.activations
        volume = len(layers) * (3 + again) * whole * _ring(layout.context)
        what = "all-gather of keys and values, reduce-scatter of their gradients"
        found.append(_traffic("context", what, volume, gpu, layout.context, layout.tensor))
    experts = sum(model.is_moe_layer(layer) for layer in layers)
    if model.moe and layout.expert > 1 and experts:
        split = layout.tensor if layout.sequence_parallel else 1
        volume = experts * (4 + 2 * again) * model.moe.top_k * stream / split * _ring(layout.expert)
        found.append(_traffic("expert", "all-to-all: out and back", volume, gpu, layout.expert, layout.expert_tensor))
    return found


def boundary_traffic(
    model: ModelConfig, sequence_length: int, layout: Layout, precision: Precision, gpu: Gpu
) -> Traffic | None:
    """Pipeline: activations to the next stage and gradients back, of one micro-batch through all chunks of a rank."""
    if layout.pipeline == 1:
        return None
    split = layout.tensor if layout.sequence_parallel or layout.scatter_gather else 1
    one = sequence_length * layout.micro_batch / layout.context * model.hidden_size * precision.activations / split
    stride = layout.tensor * layout.context * layout.data
    return _traffic("pipeline", "point to point", 2 * layout.chunks * one, gpu, 2, stride)


def replica_traffic(
    weights: RankWeights, layout: Layout, precision: Precision, gpu: Gpu, micro_batches: int
) -> list[Traffic]:
    """Data parallelism in a step: gradients summed, weights gathered. ZeRO-3 gathers weights in both passes of each
    micro-batch and scatters its gradients (Rajbhandari et al. 2020, section 7)."""
    found = []
    groups = (
        ("data", weights.dense, layout.replicas, layout.tensor),
        ("data (experts)", weights.experts, layout.expert_replicas, layout.expert * layout.expert_tensor),
    )
    for kind, count, size, stride in groups:
        if size == 1 or count == 0:
            continue
        gradients, gathered = count * precision.gradients, count * precision.weights
        if layout.zero == 0:
            what, volume = "all-reduce of gradients", 2 * gradients
        elif layout.zero == 2 and layout.pipeline == 1:
            what = "reduce-scatter of gradients each micro-batch, all-gather of weights"
            volume = micro_batches * gradients + gathered
        elif layout.zero < 3:
            what, volume = "reduce-scatter of gradients, all-gather of weights", gradients + gathered
        else:
            what = "all-gather of weights twice, reduce-scatter of gradients, each micro-batch"
            volume = micro_batches * (2 * gathered + gradients)
        found.append(_traffic(kind, what, volume * _ring(size), gpu, size, stride))
    return found


def _traffic(kind: str, what: str, volume: float, gpu: Gpu, size: int, stride: int) -> Traffic:
    rate, link = group_rate(gpu, size, stride)
    return Traffic(kind, what, volume, volume / rate, link)


def _ring(size: int) -> float:
    return (size - 1) / size


def _mla_width(model: ModelConfig) -> int:
    assert model.mla is not None
    return model.mla.nope_head_dim + model.mla.rope_head_dim + model.mla.value_head_dim
