"""Floating-point operations of training: 6ND, and exactly.

    train_flops_per_token(model, vocab_size, sequence_length)   # forward and backward, experts in use only

A multiplication and an addition are two operations. Exact: every matrix product of the forward pass, attention
included, and twice that for the backward pass (Narayanan et al. 2021, appendix; Korthikanti et al. 2022, appendix A).
Norms, activations, softmax and embeddings are left out there and here.
"""

from __future__ import annotations

from training.pretrain.models.config import ModelConfig
from training.pretrain.parameters import parameter_counts


def six_nd(parameters: float, tokens: float) -> float:
    """6 N D: two operations a weight forward, four backward (Kaplan et al. 2020, section 2.1)."""
    return 6.0 * parameters * tokens


def seen_positions(model: ModelConfig, sequence_length: int, causal: bool) -> float:
    """Keys that a query is compared with, on average: (s + 1) / 2 in a causal model whose kernel skips the others."""
    return (sequence_length + 1) / 2 if causal and not model.masked_lm else float(sequence_length)


def attention_widths(model: ModelConfig) -> tuple[int, int]:
    """Widths, over all heads, of what is compared (queries) and of what is summed (values)."""
    if model.mla:
        return model.heads * (model.mla.nope_head_dim + model.mla.rope_head_dim), model.heads * model.mla.value_head_dim
    width = model.heads * model.kv_channels
    return width, width


def layer_forward(model: ModelConfig, layer: int, sequence_length: int, causal: bool = True) -> dict[str, float]:
    """Operations a token of one layer's forward pass, by part."""
    hidden, moe = model.hidden_size, model.moe
    matrices = 3 if model.gated else 2
    queries, values = attention_widths(model)
    parts = {
        "projections": 2.0 * _projections(model),
        "scores": 2.0 * seen_positions(model, sequence_length, causal) * (queries + values),
    }
    if moe is not None and model.is_moe_layer(layer):
        experts = moe.top_k + moe.shared_experts
        parts["feed_forward"] = 2.0 * matrices * hidden * moe.ffn_hidden_size * experts
        parts["router"] = 2.0 * hidden * moe.experts
    else:
        parts["feed_forward"] = 2.0 * matrices * hidden * model.ffn_hidden_size
    return parts


def output_forward(model: ModelConfig, vocab_size: int) -> float:
    """Operations a token of the output projection (and of BERT's prediction head)."""
    head = model.hidden_size**2 if model.masked_lm else 0
    return 2.0 * (model.hidden_size * vocab_size + head)


def mtp_forward(model: ModelConfig, vocab_size: int, sequence_length: int, causal: bool = True) -> float:
    """Operations a token of multi-token prediction: for each depth a projection, a layer and the output."""
    if model.mtp is None:
        return 0.0
    layer = sum(layer_forward(model, model.layers - 1, sequence_length, causal).values())
    return model.mtp.depth * (4.0 * model.hidden_size**2 + layer + output_forward(model, vocab_size))


def forward_parts(model: ModelConfig, vocab_size: int, sequence_length: int, causal: bool = True) -> dict[str, float]:
    """Operations a token of the whole forward pass, by part."""
    parts: dict[str, float] = {}
    for layer in range(model.layers):
        for name, value in layer_forward(model, layer, sequence_length, causal).items():
            parts[name] = parts.get(name, 0.0) + value
    parts["output"] = output_forward(model, vocab_size)
    if model.mtp:
        parts["multi_token"] = mtp_forward(model, vocab_size, sequence_length, causal)
    return parts


def train_flops_per_token(model: ModelConfig, vocab_size: int, sequence_length: int, causal: bool = True) -> float:
    """Operations of forward and backward pass a token, only the experts in use. `causal=False` counts the masked half
    of the attention too, as PaLM's MFU and Megatron's papers do."""
    return 3.0 * sum(forward_parts(model, vocab_size, sequence_length, causal).values())


def compute_optimal(model: ModelConfig, vocab_size: int, flops: float | None = None) -> dict[str, float]:
    """Compute-optimal training (Hoffmann et al. 2022, "Chinchilla").

    `tokens`: 20 for each (active) parameter of this model (their model has 70 billion and 1.4 trillion tokens; table 3
    gives 20.2 a parameter at a billion and 21.2 at a trillion). With a budget of `flops`, `parameters_for_budget` and
    `tokens_for_budget` solve C = 6 N D, D = 20 N.
    """
    counts = parameter_counts(model, vocab_size)
    found = {"tokens_per_parameter": 20.0, "tokens": 20.0 * counts.active}
    found["flops"] = six_nd(counts.active, found["tokens"])
    if flops is not None:
        found["parameters_for_budget"] = (flops / 120.0) ** 0.5
        found["tokens_for_budget"] = 20.0 * found["parameters_for_budget"]
    return found


def _projections(model: ModelConfig) -> int:
    """Weights of one layer's attention matrices."""
    hidden = model.hidden_size
    queries, values = attention_widths(model)
    if model.mla is None:
        return hidden * (2 * queries + 2 * model.query_groups * model.kv_channels)
    mla = model.mla
    query = hidden * queries if mla.q_rank is None else (hidden + queries) * mla.q_rank
    keys = hidden * (mla.kv_rank + mla.rope_head_dim)
    keys += mla.kv_rank * model.heads * (mla.nope_head_dim + mla.value_head_dim)
    return query + keys + values * hidden
