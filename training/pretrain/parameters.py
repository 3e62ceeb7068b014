"""How many weights a model has, from its configuration alone: nothing is built, so 671 billion cost nothing.

    from training.pretrain.parameters import parameter_counts
    parameter_counts(config.model, vocab_size=128_256).total

H hidden, V vocabulary, F feed-forward, D head width. Published counts leave out the rows that pad the vocabulary and
the layers of multi-token prediction, and so does `total`.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.pretrain.models.config import ModelConfig


@dataclass(frozen=True)
class LayerCounts:
    """Weights of one transformer layer."""

    attention: int
    """Projections and their norms (QK norms, the norms of latent attention)."""
    feed_forward: int
    """A dense feed-forward layer; 0 in a layer with experts."""
    router: int
    experts: int
    """All routed experts."""
    active_experts: int
    """Those that one token goes through."""
    shared_experts: int
    norms: int
    """The two norms on the residual stream."""

    @property
    def total(self) -> int:
        """All weights of the layer."""
        dense = self.attention + self.feed_forward + self.router + self.shared_experts + self.norms
        return dense + self.experts

    @property
    def active(self) -> int:
        """Weights that one token meets."""
        return self.total - self.experts + self.active_experts


@dataclass(frozen=True)
class ParameterCounts:
    """Weights of a model."""

    layers: list[LayerCounts]
    """One entry for each transformer layer."""
    embedding: int
    """Token embedding, V x H."""
    positions: int
    """Learned positions and segments; 0 with rotary ones."""
    output: int
    """Output projection; 0 when it is the embedding."""
    head: int
    """What stands before or after the layers otherwise: the last norm, BERT's embedding norm and prediction head."""
    mtp: int
    """Layers of multi-token prediction; used in training only, not in `total`."""

    @property
    def total(self) -> int:
        """All weights but those of multi-token prediction."""
        return sum(layer.total for layer in self.layers) + self._outside

    @property
    def active(self) -> int:
        """Weights that one token meets: `total` without the experts it does not go through."""
        return sum(layer.active for layer in self.layers) + self._outside

    @property
    def _outside(self) -> int:
        return self.embedding + self.positions + self.output + self.head

    @property
    def parts(self) -> dict[str, int]:
        """Totals by part; their sum is `total`."""
        names = ("attention", "feed_forward", "router", "experts", "shared_experts", "norms")
        layers = {name: sum(getattr(layer, name) for layer in self.layers) for name in names}
        outside = {name: getattr(self, name) for name in ("embedding", "positions", "output", "head")}
        return layers | outside


def parameter_counts(model: ModelConfig, vocab_size: int) -> ParameterCounts:
    """Count the weights of `model` with a vocabulary of `vocab_size` tokens (give the padded size to count padding)."""
    hidden = model.hidden_size
    norm = hidden if model.norm == "rms" else 2 * hidden
    layers = [layer_counts(model, index) for index in range(model.layers)]
    head = norm
    if model.masked_lm:
        # the embedding's norm in place of a last one; prediction head: a linear layer, a norm, the output's bias
        head = norm + hidden * hidden + hidden + norm + vocab_size
    types = model.masked_lm.token_types if model.masked_lm else 0
    # each depth: two norms, a projection of (hidden, embedding) to H, a layer like the last one, its own last norm
    depth = layers[-1].total + 2 * hidden * hidden + 3 * norm
    return ParameterCounts(
        layers=layers,
        embedding=vocab_size * hidden,
        positions=(model.max_positions + types) * hidden if model.positions == "learned" else 0,
        output=0 if model.tied_embeddings else vocab_size * hidden,
        head=head,
        mtp=model.mtp.depth * depth if model.mtp else 0,
    )


def layer_counts(model: ModelConfig, layer: int) -> LayerCounts:
    """Weights of layer `layer` (the first is 0)."""
    hidden, moe = model.hidden_size, model.moe
    has_experts = model.is_moe_layer(layer)
    matrices = 3 if model.gated else 2
    expert = matrices * hidden * moe.ffn_hidden_size if moe and has_experts else 0
    dense = matrices * hidden * model.ffn_hidden_size
    if model.biases:
        dense += (matrices - 1) * model.ffn_hidden_size + hidden
    return LayerCounts(
        attention=_latent_attention(model) if model.mla else _attention(model),
        feed_forward=0 if has_experts else dense,
        router=moe.experts * hidden if moe and has_experts else 0,
        experts=moe.experts * expert if moe else 0,
        active_experts=moe.top_k * expert if moe else 0,
        shared_experts=moe.shared_experts * expert if moe else 0,
        norms=2 * (hidden if model.norm == "rms" else 2 * hidden),
    )


def _attention(model: ModelConfig) -> int:
    queries, keys = model.heads * model.kv_channels, model.query_groups * model.kv_channels
    count = model.hidden_size * (2 * queries + 2 * keys)
    if model.biases:
        count += queries + 2 * keys + model.hidden_size
    return count + (2 * model.kv_channels if model.qk_norm else 0)


def _latent_attention(model: ModelConfig) -> int:
    mla = model.mla
    assert mla is not None
    hidden, heads = model.hidden_size, model.heads
    queries = heads * (mla.nope_head_dim + mla.rope_head_dim)
    query = hidden * queries if mla.q_rank is None else (hidden + 1 + queries) * mla.q_rank
    keys_values = hidden * (mla.kv_rank + mla.rope_head_dim) + mla.kv_rank
    keys_values += mla.kv_rank * heads * (mla.nope_head_dim + mla.value_head_dim)
    return query + keys_values + heads * mla.value_head_dim * hidden
