"""Weights and configuration between Megatron's checkpoint form and Hugging Face's Llama and Qwen3.

Checkpoint form: whole tensors by their names in a Megatron distributed checkpoint (Transformer Engine's names), all
layers stacked in front. L layers, H hidden, Q query heads, G key/value heads, D head width, F feed-forward, V vocab.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from training.pretrain.config import ModelConfig

EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"
FINAL_NORM = "decoder.final_layernorm.weight"
QKV = "decoder.layers.self_attention.linear_qkv.weight"
GATE_UP = "decoder.layers.mlp.linear_fc1.weight"

_ATTENTION = "decoder.layers.self_attention."
_LAYER_NAMES = {
    "decoder.layers.self_attention.linear_proj.weight": "self_attn.o_proj.weight",
    "decoder.layers.mlp.linear_fc2.weight": "mlp.down_proj.weight",
    "decoder.layers.self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "decoder.layers.mlp.linear_fc1.layer_norm_weight": "post_attention_layernorm.weight",
}
_QK_NORM_NAMES = {
    _ATTENTION + "q_layernorm.weight": "self_attn.q_norm.weight",
    _ATTENTION + "k_layernorm.weight": "self_attn.k_norm.weight",
}


def _direct_names(config: ModelConfig) -> dict[str, str]:
    return _LAYER_NAMES | (_QK_NORM_NAMES if config.qk_norm else {})


def split_qkv(qkv: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Megatron's `[(Q + 2G) * D, H]`, grouped as (queries of the group, key, value), to q, k, v `[heads * D, H]`."""
    grouped = qkv.view(config.kv_heads, config.heads // config.kv_heads + 2, config.kv_channels, -1)
    parts = grouped[:, :-2], grouped[:, -2], grouped[:, -1]
    q, k, v = (part.reshape(-1, qkv.size(-1)) for part in parts)
    return q, k, v


def merge_qkv(q: Tensor, k: Tensor, v: Tensor, config: ModelConfig) -> Tensor:
    """The inverse of `split_qkv`."""
    q = q.view(config.kv_heads, config.heads // config.kv_heads, config.kv_channels, -1)
    k, v = (x.view(config.kv_heads, 1, config.kv_channels, -1) for x in (k, v))
    return torch.cat([q, k, v], 1).flatten(0, 2)


def to_hf(state: dict[str, Tensor], config: ModelConfig, vocab_size: int) -> dict[str, Tensor]:
    """Hugging Face state dict of a checkpoint's whole tensors; the padding rows of the vocabulary are left out."""
    out = {"model.embed_tokens.weight": state[EMBEDDING][:vocab_size], "model.norm.weight": state[FINAL_NORM]}
    if not config.tied_embeddings:
        out["lm_head.weight"] = state[OUTPUT][:vocab_size]
    for layer in range(config.layers):
        prefix = f"model.layers.{layer}."
        for letter, part in zip("qkv", split_qkv(state[QKV][layer], config), strict=True):
            out[f"{prefix}self_attn.{letter}_proj.weight"] = part
        gate, up = state[GATE_UP][layer].chunk(2)
        out[prefix + "mlp.gate_proj.weight"], out[prefix + "mlp.up_proj.weight"] = gate, up
        for ours, theirs in _direct_names(config).items():
            out[prefix + theirs] = state[ours][layer]
    return {name: tensor.contiguous() for name, tensor in out.items()}


def from_hf(state: dict[str, Tensor], config: ModelConfig, padded_vocab: int) -> dict[str, Tensor]:
    """A checkpoint's whole tensors from a Hugging Face state dict; padding rows of the vocabulary are zero."""

    def pad(rows: Tensor) -> Tensor:
        return torch.cat([rows, rows.new_zeros(padded_vocab - rows.size(0), rows.size(1))])

    def layers(name: str) -> list[Tensor]:
        return [state[f"model.layers.{layer}.{name}"] for layer in range(config.layers)]

    out = {EMBEDDING: pad(state["model.embed_tokens.weight"]), FINAL_NORM: state["model.norm.weight"]}
    if not config.tied_embeddings:
        out[OUTPUT] = pad(state["lm_head.weight"])
    queries, keys, values = (layers(f"self_attn.{letter}_proj.weight") for letter in "qkv")
    out[QKV] = torch.stack([merge_qkv(q, k, v, config) for q, k, v in zip(queries, keys, values, strict=True)])
    gates, ups = layers("mlp.gate_proj.weight"), layers("mlp.up_proj.weight")
    out[GATE_UP] = torch.stack([torch.cat(pair) for pair in zip(gates, ups, strict=True)])
    for ours, theirs in _direct_names(config).items():
        out[ours] = torch.stack(layers(theirs))
    return out


def hf_config(
    config: ModelConfig, vocab_size: int, sequence_length: int, dtype: str, token_ids: Mapping[str, int | None]
) -> Any:
    """The transformers configuration (LlamaConfig, or Qwen3Config with QK norms).

    `token_ids`: `bos_token_id`, `eos_token_id` and `pad_token_id` of the tokenizer.
    """
    from transformers import LlamaConfig, Qwen3Config

    kind = Qwen3Config if config.qk_norm else LlamaConfig
    return kind(
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.ffn_hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.kv_channels,
        rms_norm_eps=config.norm_epsilon,
        tie_word_embeddings=config.tied_embeddings,
        max_position_embeddings=sequence_length,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        initializer_range=config.init_std,
        attention_bias=False,
        dtype=dtype,
        **token_ids,
    )
