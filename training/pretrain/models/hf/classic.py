"""Weights of the two families with learned positions, LayerNorm and biases: GPT-2 and BERT."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from training.pretrain.models.config import ModelConfig
from training.pretrain.models.hf.piece import Piece, merge_qkv, queries_keys_values, rows, same, split_qkv, transposed

LAYERS = "decoder.layers."
KINDS = ("weight", "bias")


def gpt2_pieces(model: ModelConfig) -> Iterator[Piece]:
    """GPT-2: its matrices are stored `[in, out]`, queries, keys and values in one."""
    yield rows("embedding.word_embeddings.weight", "transformer.wte.weight")
    yield same("embedding.position_embeddings.weight", (), "transformer.wpe.weight")
    for layer in range(model.layers):
        theirs, index = f"transformer.h.{layer}.", (layer,)
        for kind in KINDS:
            matrix = transposed if kind == "weight" else same
            yield same(f"{LAYERS}self_attention.linear_qkv.layer_norm_{kind}", index, f"{theirs}ln_1.{kind}")
            yield _joined_qkv(kind, index, f"{theirs}attn.c_attn.{kind}", model)
            yield matrix(f"{LAYERS}self_attention.linear_proj.{kind}", index, f"{theirs}attn.c_proj.{kind}")
            yield same(f"{LAYERS}mlp.linear_fc1.layer_norm_{kind}", index, f"{theirs}ln_2.{kind}")
            yield matrix(f"{LAYERS}mlp.linear_fc1.{kind}", index, f"{theirs}mlp.c_fc.{kind}")
            yield matrix(f"{LAYERS}mlp.linear_fc2.{kind}", index, f"{theirs}mlp.c_proj.{kind}")
    for kind in KINDS:
        yield same(f"decoder.final_layernorm.{kind}", (), f"transformer.ln_f.{kind}")


def _joined_qkv(kind: str, index: tuple[int, ...], target: str, model: ModelConfig) -> Piece:
    """`c_attn`: all queries, then all keys, then all values; the weight transposed. (`.T` of a bias is the bias.)"""

    def split(whole: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.cat(split_qkv(whole, model)).t(),)

    def merge(parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        q, k, v = parts[0].t().chunk(3)
        return merge_qkv(q, k, v, model)

    return Piece(f"{LAYERS}self_attention.linear_qkv.{kind}", index, (target,), split, merge)  # type: ignore[arg-type]


def bert_pieces(model: ModelConfig) -> Iterator[Piece]:
    """BERT with its masked-language-modelling head; a pooler and the next-sentence head are not ours."""
    yield rows("embedding.word_embeddings.weight", "bert.embeddings.word_embeddings.weight")
    yield same("embedding.position_embeddings.weight", (), "bert.embeddings.position_embeddings.weight")
    yield same("embedding.tokentype_embeddings.weight", (), "bert.embeddings.token_type_embeddings.weight")
    for kind in KINDS:
        yield same(f"embedding.norm.{kind}", (), f"bert.embeddings.LayerNorm.{kind}")
    for layer in range(model.layers):
        theirs, index = f"bert.encoder.layer.{layer}.", (layer,)
        for kind in KINDS:
            q, k, v = (f"{theirs}attention.self.{name}.{kind}" for name in ("query", "key", "value"))
            yield queries_keys_values(f"{LAYERS}self_attention.linear_qkv.{kind}", index, (q, k, v), model)
            yield same(f"{LAYERS}self_attention.linear_proj.{kind}", index, f"{theirs}attention.output.dense.{kind}")
            yield same(f"{LAYERS}post_attention_layernorm.{kind}", index, f"{theirs}attention.output.LayerNorm.{kind}")
            yield same(f"{LAYERS}mlp.linear_fc1.{kind}", index, f"{theirs}intermediate.dense.{kind}")
            yield same(f"{LAYERS}mlp.linear_fc2.{kind}", index, f"{theirs}output.dense.{kind}")
            yield same(f"{LAYERS}post_mlp_layernorm.{kind}", index, f"{theirs}output.LayerNorm.{kind}")
    for kind in KINDS:
        yield same(f"prediction_head.dense.{kind}", (), f"cls.predictions.transform.dense.{kind}")
        yield same(f"prediction_head.norm.{kind}", (), f"cls.predictions.transform.LayerNorm.{kind}")
    yield rows("output_layer.bias", "cls.predictions.bias")
