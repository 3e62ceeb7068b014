"""Published models as configurations, for the planner's tests."""

from __future__ import annotations

from typing import Any

from training.pretrain.models.config import MLAConfig, ModelConfig, MoEConfig, MTPConfig


def gpt(layers: int, hidden: int, heads: int) -> ModelConfig:
    """GPT as in the papers on GPT-3 and Megatron-LM."""
    return ModelConfig(
        layers=layers,
        hidden_size=hidden,
        ffn_hidden_size=4 * hidden,
        heads=heads,
        kv_heads=None,
        norm="layer",
        activation="gelu_tanh",
        biases=True,
        positions="learned",
        max_positions=2048,
    )


def llama(layers: int, hidden: int, ffn: int, heads: int, kv_heads: int, **more: Any) -> ModelConfig:
    """Llama, with an output projection of its own."""
    return ModelConfig(
        layers=layers,
        hidden_size=hidden,
        ffn_hidden_size=ffn,
        heads=heads,
        kv_heads=kv_heads,
        **{"tied_embeddings": False, **more},
    )


GPT3 = gpt(96, 12288, 96)
LLAMA_7B = llama(32, 4096, 11008, 32, 32)
LLAMA_65B = llama(80, 8192, 22016, 64, 64)
LLAMA3_405B = llama(126, 16384, 53248, 128, 8, rope_theta=500_000.0)
MIXTRAL = llama(32, 4096, 14336, 32, 8, moe=MoEConfig(experts=8, ffn_hidden_size=14336))
DEEPSEEK = llama(
    61,
    7168,
    18432,
    128,
    128,
    mla=MLAConfig(),
    mtp=MTPConfig(),
    moe=MoEConfig(
        experts=256,
        top_k=8,
        ffn_hidden_size=2048,
        shared_experts=1,
        dense_layers=3,
        score="sigmoid",
        groups=8,
        top_groups=4,
    ),
)
