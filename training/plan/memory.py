"""Memory of each rank: weights, gradients, optimizer state, activations, working memory.

Activations follow Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", section 4:
what the backward pass needs is kept, in `activations` bytes a number, and what tensor or sequence parallelism splits is
divided. For GPT with dropout and an attention that stores its scores this is their s b h (34 + 5 a s / h); the same
accounting is carried over to gated feed-forward layers, grouped queries, flash attention, experts and latent attention.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from training.plan.flops import attention_widths
from training.plan.layout import Layout, Precision, stage_layers
from training.pretrain.models.config import ModelConfig
from training.pretrain.parameters import LayerCounts, ParameterCounts, layer_counts, parameter_counts

RESERVED = 2.5 * 2**30
"""CUDA context, NCCL's buffers and cuBLAS's workspace of one rank, bytes (an assumption)."""
FRAGMENTATION = 0.04
"""Share of the rest that the allocator cannot use (an assumption)."""


@dataclass(frozen=True)
class RankWeights:
    """Weights that one rank holds, in numbers."""

    dense: float
    """Split by tensor and pipeline parallelism; the same on all data- and context-parallel replicas."""
    experts: float
    """Routed experts, split by expert and expert-tensor parallelism."""
    matrices: float
    """Those of both that lie in layers, which Muon updates."""

    @property
    def total(self) -> float:
        """All weights of the rank."""
        return self.dense + self.experts


@dataclass
class RankMemory:
    """Bytes of one rank."""

    rank: int
    """Its place in the pipeline."""
    layers: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    output: float
    """Logits and what the loss keeps (last stage)."""
    working: float
    """What is computed again, gradients of activations, gathered weights: for a moment."""
    parts: dict[str, float] = field(default_factory=dict)
    """Activations of one layer and one micro-batch, as kept, by part."""
    reserved: float = RESERVED
    fragmentation: float = FRAGMENTATION

    @property
    def states(self) -> float:
        """Weights, gradients and optimizer state."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        """All of it, with what the driver and the allocator take."""
        used = self.states + self.activations + self.output + self.working
        return used * (1 + self.fragmentation) + self.reserved


def padded(model: ModelConfig, vocab_size: int) -> int:
    """Rows of the embedding."""
    return -(-vocab_size // model.vocab_multiple) * model.vocab_multiple


@lru_cache(maxsize=16)
def padded_counts(model: ModelConfig, vocab_size: int) -> ParameterCounts:
    """Weights of the model as it is trained, with the rows that pad the vocabulary."""
    return parameter_counts(model, padded(model, vocab_size))


def layer_kinds(model: ModelConfig, layers: list[int]) -> dict[int, int]:
    """One layer of each kind (dense, experts) among `layers`, and how many there are of it."""
    kinds = Counter(model.is_moe_layer(layer) for layer in layers)
    return {next(layer for layer in layers if model.is_moe_layer(layer) == kind): n for kind, n in kinds.items()}


def rank_weights(model: ModelConfig, vocab_size: int, layout: Layout, rank: int) -> RankWeights:
    """Weights of a rank of pipeline stage `rank`."""
    counts = padded_counts(model, vocab_size)
    dense = experts = 0.0
    for layer, times in layer_kinds(model, stage_layers(model, layout)[rank]).items():
        dense += times * _split_layer(model, counts.layers[layer], layout)
        experts += times * counts.layers[layer].experts / (layout.expert * layout.expert_tensor)
    matrices = dense + experts
    last = layout.pipeline - 1
    if rank == 0:
        dense += counts.embedding / layout.tensor + counts.positions
    if rank == last:
        tied_copy = counts.embedding if model.tied_embeddings and last > 0 else 0
        dense += (counts.output + tied_copy) / layout.tensor + counts.head
        if model.mtp:
            routed = counts.layers[-1].experts * model.mtp.depth
            dense += (counts.mtp - routed) / layout.tensor
            experts += routed / (layout.expert * layout.expert_tensor)
    return RankWeights(dense, experts, matrices)


def states(
    weights: RankWeights, layout: Layout, precision: Precision, optimizer: str = "adamw"
) -> tuple[float, float, float]:
    """Bytes of weights, gradients and optimizer state, spread over replicas as the ZeRO stage says (Rajbhandari et al.
    2020, section 5): 1 the optimizer, 2 gradients too, 3 weights too."""
    held = [0.0, 0.0, 0.0]
    for count, replicas in ((weights.dense, layout.replicas), (weights.experts, layout.expert_replicas)):
        for index, (size, stage) in enumerate(((precision.weights, 3), (precision.gradients, 2))):
            held[index] += count * size / (replicas if layout.zero >= stage else 1)
        held[2] += count * precision.optimizer / (replicas if layout.zero >= 1 else 1)
    if optimizer == "muon":
        saved = weights.matrices / weights.total * (1 - precision.muon / precision.optimizer)
        held[2] *= 1 - saved
    return held[0], held[1], held[2]


def layer_activations(
    model: ModelConfig, layer: int, sequence_length: int, layout: Layout, precision: Precision
) -> dict[str, float]:
    """Bytes a layer's forward pass would keep for one micro-batch without recomputation, by part."""
    tokens = sequence_length * layout.micro_batch / layout.context
    split = layout.tensor if layout.sequence_parallel else 1
    size, hidden = precision.activations, model.hidden_size
    _, values = attention_widths(model)
    parts = {
        "norm_input": 2 * size * hidden / split,
        "attention_input": size * hidden / split,
        "qkv": _qkv(model, size, layout.tensor, split),
        "scores": _scores(model, sequence_length, size, precision) / layout.tensor,
        "attention_output": size * values / layout.tensor,
        "feed_forward_input": size * hidden / split,
    }
    if precision.dropout:
        parts["dropout_masks"] = 2 * hidden / split
    return {name: tokens * value for name, value in (parts | _feed_forward(model, layer, layout, size, split)).items()}


def _qkv(model: ModelConfig, size: float, tensor: int, split: int) -> float:
    """Bytes a token of queries, keys and values, and of what they are made from."""
    queries, values = attention_widths(model)
    if model.mla:
        latent = 2 * (model.mla.q_rank or 0) + 2 * model.mla.kv_rank + model.mla.rope_head_dim
        return size * (latent / split + (2 * queries + values) / tensor)
    keys = model.query_groups * model.kv_channels
    normed = queries + keys if model.qk_norm else 0
    return size * (queries + 2 * keys + normed) / tensor


def _scores(model: ModelConfig, sequence_length: int, size: float, precision: Precision) -> float:
    """Bytes a token of the softmax, over all heads; flash attention keeps one float32 for each query and head."""
    if precision.flash:
        return 4.0 * model.heads
    dropped = 1 + size if precision.dropout else 0
    return model.heads * sequence_length * (size + dropped)


def _feed_forward(model: ModelConfig, layer: int, layout: Layout, size: float, split: int) -> dict[str, float]:
    """Bytes a token: input of the activation (two halves when gated) and its output; for experts, of as many tokens as
    a rank gets when they are balanced, with input and output of each expert."""
    wide = 3 if model.gated else 2
    moe = model.moe
    if moe is None or not model.is_moe_layer(layer):
        return {"feed_forward": wide * size * model.ffn_hidden_size / layout.tensor}
    routed = moe.top_k * layout.expert_tensor / split
    parts = {
        "router": 8.0 * moe.experts / split,
        "experts": routed * size * (2 * model.hidden_size + wide * moe.ffn_hidden_size / layout.expert_tensor),
    }
    if moe.shared_experts:
        parts["shared_experts"] = wide * size * moe.shared_width / layout.tensor
    return parts


_DROPPED = {
    "core_attn": ("scores",),
    "mlp": ("feed_forward", "shared_experts"),
    "moe": ("experts", "router", "shared_experts"),
    "layernorm": ("attention_input", "feed_forward_input"),
    "mla_up_proj": (),
    "moe_act": (),
}


def kept_activations(parts: dict[str, float], model: ModelConfig, layout: Layout) -> dict[str, float]:
    """What of a layer's activations selective recomputation leaves."""
    if layout.recompute != "selective":
        return parts
    kept = dict(parts)
    for module in layout.recompute_modules:
        for name in _DROPPED[module]:
            kept.pop(name, None)
    if "moe_act" in layout.recompute_modules and "experts" in kept and model.moe:
        wide = (3 if model.gated else 2) * model.moe.ffn_hidden_size / layout.expert_tensor
        inner = wide / (2 * model.hidden_size + wide) / (3 if model.gated else 2)
        kept["experts"] *= 1 - inner
    if "mla_up_proj" in layout.recompute_modules and model.mla:
        queries, values = attention_widths(model)
        up = (2 * queries + values) / layout.tensor
        split = layout.tensor if layout.sequence_parallel else 1
        latent = (2 * (model.mla.q_rank or 0) + 2 * model.mla.kv_rank + model.mla.rope_head_dim) / split
        kept["qkv"] *= latent / (latent + up)
    return kept


def rank_memory(
    model: ModelConfig,
    vocab_size: int,
    sequence_length: int,
    global_batch: int,
    layout: Layout,
    precision: Precision,
    rank: int,
    optimizer: str = "adamw",
) -> RankMemory:
    """Bytes of a rank of pipeline stage `rank`."""
    weights, gradients, optimizer_bytes = states(
        rank_weights(model, vocab_size, layout, rank), layout, precision, optimizer
    )
    if layout.zero >= 3 and precision.weights < 4:
        # `fully_sharded.py` keeps its rows once, in float32: they are the weights and the optimizer's copy of them.
        weights, optimizer_bytes = 2 * weights, optimizer_bytes - 2 * weights
    layers = stage_layers(model, layout)[rank]
    flight = layout.in_flight(rank, layout.micro_batches(global_batch))
    tokens = sequence_length * layout.micro_batch / layout.context
    split = layout.tensor if layout.sequence_parallel else 1
    stream = precision.activations * tokens * model.hidden_size / split
    kept, again, largest, parts = _stage_activations(model, layers, sequence_length, layout, precision, stream)
    activations = flight * kept
    if rank == 0 and precision.dropout:
        activations += flight * tokens * model.hidden_size / split
    output = 0.0
    if rank == layout.pipeline - 1:
        predictions = 1 + (model.mtp.depth if model.mtp else 0)
        logits = tokens * padded(model, vocab_size) / layout.tensor
        output = predictions * (2 * stream + 4 * logits) + precision.activations * logits
    working = again + largest
    if layout.zero >= 3 and layers:
        one = layer_counts(model, layers[-1])
        gathered = _split_layer(model, one, layout) + one.experts / (layout.expert * layout.expert_tensor)
        # This layer's and the next one's; embedding and output layer stay gathered for a whole pass.
        ends = (1 if model.tied_embeddings else 2) * padded(model, vocab_size) * model.hidden_size / layout.tensor
        working += 2 * gathered * (precision.weights + precision.gradients) + ends * 2 * precision.weights
    return RankMemory(rank, len(layers), weights, gradients, optimizer_bytes, activations, output, working, parts)


def worst_rank(
    model: ModelConfig,
    vocab_size: int,
    sequence_length: int,
    global_batch: int,
    layout: Layout,
    precision: Precision,
    optimizer: str = "adamw",
) -> RankMemory:
    """The pipeline stage that needs most."""
    arguments = (model, vocab_size, sequence_length, global_batch, layout, precision)
    # the first keeps most micro-batches, the second may have more layers, the last holds the logits
    ranks = sorted({0, min(1, layout.pipeline - 1), layout.pipeline - 1})
    return max((rank_memory(*arguments, rank, optimizer) for rank in ranks), key=lambda one: one.total)


def _stage_activations(
    model: ModelConfig, layers: list[int], sequence_length: int, layout: Layout, precision: Precision, stream: float
) -> tuple[float, float, float, dict[str, float]]:
    """(kept by all layers for one micro-batch, what one group computes again, largest gradient, parts of a layer)."""
    kept = again = largest = 0.0
    shown: dict[str, float] = {}
    group = 0.0
    per_chunk = max(1, len(layers) // layout.chunks)
    kinds = {}
    for layer in layer_kinds(model, layers):
        full = layer_activations(model, layer, sequence_length, layout, precision)
        kinds[model.is_moe_layer(layer)] = (full, kept_activations(full, model, layout))
    for position, layer in enumerate(layers):
        full, left = kinds[model.is_moe_layer(layer)]
        whole = layout.recompute == "full"
        if whole and layout.recompute_method == "uniform":
            start = position % layout.recompute_layers == 0
            group = sum(full.values()) + (0.0 if start else group)
            left = {"layer_input": stream} if start else {}
            again = max(again, group)
        elif whole and position % per_chunk < layout.recompute_layers:
            left = {"layer_input": stream}
            again = max(again, sum(full.values()))
        elif not whole:
            again = max(again, sum(full.values()) - sum(left.values()))
        kept += sum(left.values())
        largest = max(largest, max(full.values()))
        shown = left or shown
    return kept, again, largest, shown


def _split_layer(model: ModelConfig, one: LayerCounts, layout: Layout) -> float:
    """Weights of a layer on one rank, without routed experts: norms, router and latent projections are not split."""
    whole = one.norms + one.router
    if model.mla:
        whole += model.hidden_size * ((model.mla.q_rank or 0) + model.mla.kv_rank + model.mla.rope_head_dim)
    return whole + (one.total - one.experts - whole) / layout.tensor
