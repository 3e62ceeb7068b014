"""Weights of the decoders: Llama, Qwen3, Mixtral, Qwen3-MoE, Dots1 and DeepSeek-V3."""

from __future__ import annotations

from collections.abc import Iterator

from training.pretrain.models.config import ModelConfig
from training.pretrain.models.hf.piece import Piece, gate_and_up, queries_keys_values, rows, same

LAYERS = "decoder.layers."


def pieces(model: ModelConfig) -> Iterator[Piece]:
    """Every weight of the model, in the order of the files. Layers of multi-token prediction only for DeepSeek-V3."""
    yield rows("embedding.word_embeddings.weight", "model.embed_tokens.weight")
    for layer in range(model.layers):
        yield from _layer(model, LAYERS, (layer,), f"model.layers.{layer}.", experts=model.is_moe_layer(layer))
    yield same("decoder.final_layernorm.weight", (), "model.norm.weight")
    if not model.tied_embeddings:
        yield rows("output_layer.weight", "lm_head.weight")
    if model.mtp and model.family == "deepseek_v3":
        for depth in range(model.mtp.depth):
            yield from _prediction_layer(model, depth)


def _prediction_layer(model: ModelConfig, depth: int) -> Iterator[Piece]:
    """DeepSeek-V3's files keep these layers after the last one of the model."""
    ours, theirs, index = "mtp.layers.", f"model.layers.{model.layers + depth}.", (depth,)
    for name, target in (
        ("enorm.weight", "enorm.weight"),
        ("hnorm.weight", "hnorm.weight"),
        ("eh_proj.weight", "eh_proj.weight"),
        ("final_layernorm.weight", "shared_head.norm.weight"),
    ):
        yield same(ours + name, index, theirs + target)
    yield from _layer(model, ours + "transformer_layer.", index, theirs, experts=model.moe is not None)


def _layer(model: ModelConfig, ours: str, index: tuple[int, ...], theirs: str, experts: bool) -> Iterator[Piece]:
    yield from (_latent_attention if model.mla else _attention)(model, ours + "self_attention.", index, theirs)
    norm = "pre_mlp_layernorm.weight" if experts else "mlp.linear_fc1.layer_norm_weight"
    yield same(ours + norm, index, theirs + "post_attention_layernorm.weight")
    if experts:
        yield from _experts(model, ours + "mlp.", index, theirs)
    else:
        yield from _feed_forward(ours + "mlp.", index, theirs + "mlp.")


def _attention(model: ModelConfig, ours: str, index: tuple[int, ...], theirs: str) -> Iterator[Piece]:
    q, k, v = (f"{theirs}self_attn.{letter}_proj.weight" for letter in "qkv")
    yield same(ours + "linear_qkv.layer_norm_weight", index, theirs + "input_layernorm.weight")
    yield queries_keys_values(ours + "linear_qkv.weight", index, (q, k, v), model)
    yield same(ours + "linear_proj.weight", index, theirs + "self_attn.o_proj.weight")
    if model.qk_norm:
        for letter in "qk":
            yield same(f"{ours}{letter}_layernorm.weight", index, f"{theirs}self_attn.{letter}_norm.weight")


def _latent_attention(model: ModelConfig, ours: str, index: tuple[int, ...], theirs: str) -> Iterator[Piece]:
    assert model.mla is not None
    names = {
        "linear_kv_down_proj.weight": "kv_a_proj_with_mqa.weight",
        "linear_kv_up_proj.layer_norm_weight": "kv_a_layernorm.weight",
        "linear_kv_up_proj.weight": "kv_b_proj.weight",
        "linear_proj.weight": "o_proj.weight",
    }
    if model.mla.q_rank is None:
        names["linear_q_proj.weight"] = "q_proj.weight"
    else:
        names["linear_q_down_proj.weight"] = "q_a_proj.weight"
        names["linear_q_up_proj.layer_norm_weight"] = "q_a_layernorm.weight"
        names["linear_q_up_proj.weight"] = "q_b_proj.weight"
    yield same(
        ours.removesuffix("self_attention.") + "input_layernorm.weight", index, theirs + "input_layernorm.weight"
    )
    for name, target in names.items():
        yield same(ours + name, index, f"{theirs}self_attn.{target}")


def _feed_forward(ours: str, index: tuple[int, ...], theirs: str) -> Iterator[Piece]:
    yield gate_and_up(ours + "linear_fc1.weight", index, theirs + "gate_proj.weight", theirs + "up_proj.weight")
    yield same(ours + "linear_fc2.weight", index, theirs + "down_proj.weight")


def _experts(model: ModelConfig, ours: str, index: tuple[int, ...], theirs: str) -> Iterator[Piece]:
    moe = model.moe
    assert moe is not None
    mixtral = model.family == "mixtral"
    place = theirs + ("block_sparse_moe." if mixtral else "mlp.")
    gate, up, down = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
    yield same(ours + "router.weight", index, place + "gate.weight")
    if moe.expert_bias:
        yield same(ours + "router.expert_bias", index, place + "gate.e_score_correction_bias")
    for expert in range(moe.experts):
        one, at = f"{place}experts.{expert}.", (*index, expert)
        yield gate_and_up(ours + "experts.experts.linear_fc1.weight", at, f"{one}{gate}.weight", f"{one}{up}.weight")
        yield same(ours + "experts.experts.linear_fc2.weight", at, f"{one}{down}.weight")
    if moe.shared_experts:
        yield from _feed_forward(ours + "shared_experts.", index, place + "shared_experts.")
