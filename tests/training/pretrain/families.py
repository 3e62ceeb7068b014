"""A tiny model of every family, and transformers' model of the same shape with every weight random."""

from __future__ import annotations

from typing import Any

from training.pretrain.models.config import ModelConfig

VOCAB = 300  # padded to 384
LENGTH = 64
SHAPE: dict[str, Any] = {
    "layers": 4,
    "hidden_size": 64,
    "heads": 4,
    "kv_heads": 2,
    "ffn_hidden_size": 160,
    "init_std": 0.2,
    "tied_embeddings": False,
}
_CLASSIC: dict[str, Any] = {
    "norm": "layer",
    "biases": True,
    "positions": "learned",
    "kv_heads": None,
    "max_positions": LENGTH,
    "tied_embeddings": True,
}
_SIGMOID: dict[str, Any] = {"score": "sigmoid", "top_k": 4, "ffn_hidden_size": 48, "dense_layers": 1}
_MLA: dict[str, Any] = {"kv_rank": 16, "q_rank": 32, "nope_head_dim": 16, "rope_head_dim": 8, "value_head_dim": 24}
_SCALED = {"factor": 4.0, "original_length": 32}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama_tied": {"tied_embeddings": True, "kv_heads": 4},
    "llama_theta": {"rope_theta": 500_000.0, "head_dim": 24},
    "llama_linear": {"rope_scaling": {"kind": "linear", "factor": 4.0}},
    "llama_ntk": {"rope_scaling": {"kind": "ntk", "factor": 4.0}},
    "llama_yarn": {"rope_scaling": {"kind": "yarn", **_SCALED}},
    "llama_llama3": {"rope_scaling": {"kind": "llama3", **_SCALED}},
    "qwen3": {"qk_norm": True, "head_dim": 24, "tied_embeddings": True},
    "gpt2": {"activation": "gelu_tanh", **_CLASSIC},
    "mixtral": {"moe": {"experts": 4, "top_k": 2, "ffn_hidden_size": 48}},
    "qwen3_moe": {
        "qk_norm": True,
        "moe": {"experts": 8, "top_k": 3, "ffn_hidden_size": 48, "normalise": False, "dense_layers": 1},
    },
    "dots1": {
        "qk_norm": True,
        "moe": {"experts": 8, "shared_experts": 2, "expert_bias": True, "scale": 1.7, **_SIGMOID},
    },
    "deepseek_v3": {
        "mla": _MLA,
        "mtp": {"depth": 1},
        "rope_scaling": {"kind": "yarn", **_SCALED, "mscale": 0.7, "mscale_all_dim": 1.3},
        "moe": {
            "experts": 8,
            "groups": 4,
            "top_groups": 2,
            "shared_experts": 1,
            "expert_bias": True,
            "scale": 2.5,
            **_SIGMOID,
        },
    },
    "deepseek_dense": {"mla": _MLA | {"q_rank": None}, "tied_embeddings": True},
    "bert": {"activation": "gelu", "masked_lm": {"mask_token": "[MASK]"}, **_CLASSIC},
}


def tiny(name: str, **changes: Any) -> ModelConfig:
    """The tiny model of a family."""
    return ModelConfig(**SHAPE | FAMILIES[name] | changes)


def random_hf(model: ModelConfig, vocab_size: int = VOCAB, length: int = LENGTH) -> Any:
    """A transformers model whose every weight and bias, those of norms included, is random (float32)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    from training.pretrain.models.hf.settings import hf_config

    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    settings = hf_config(model, vocab_size, length, "float32", ids)
    kind = AutoModelForMaskedLM if model.masked_lm else AutoModelForCausalLM
    made = kind.from_config(settings)
    generator = torch.Generator().manual_seed(7)
    biases = [(name, buffer) for name, buffer in made.named_buffers() if name.endswith("correction_bias")]
    with torch.no_grad():
        for name, weight in [*made.named_parameters(), *biases]:
            if weight.dim() == 1 and name.endswith("weight"):
                weight.uniform_(0.5, 1.5, generator=generator)
            else:
                weight.normal_(0.0, 0.2, generator=generator)
    return made.eval()
