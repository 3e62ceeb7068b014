"""A model's configuration as transformers' configuration object, and back.

What a foreign model has and we do not (sliding windows, biases in a Llama, dynamic NTK) is refused by name: a model
that loads and computes something else would be worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from millbase.config import explain_validation
from millbase.errors import InputError
from training.pretrain.models.config import ModelConfig, RopeScalingConfig
from training.pretrain.models.rope import effective_theta

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "mixtral": "MixtralForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "dots1": "Dots1ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "bert": "BertForMaskedLM",
}


def hf_config(
    model: ModelConfig, vocab_size: int, sequence_length: int, dtype: str, token_ids: Mapping[str, int | None]
) -> Any:
    """The transformers configuration of `model`.

    `sequence_length`: the context length it is for; `token_ids`: `bos_token_id`, `eos_token_id` and `pad_token_id`.
    """
    from transformers import AutoConfig

    shared = {
        "vocab_size": vocab_size,
        "initializer_range": model.init_std,
        "tie_word_embeddings": model.tied_embeddings,
        "architectures": [_ARCHITECTURES[model.family]],
        "dtype": dtype,
        **token_ids,
    }
    if model.family == "gpt2":
        settings = _gpt2(model)
    elif model.family == "bert":
        settings = _bert(model)
    else:
        settings = _decoder(model, sequence_length)
    return AutoConfig.for_model(model.family, **settings, **shared)


def _gpt2(model: ModelConfig) -> dict[str, Any]:
    return {
        "n_positions": model.max_positions,
        "n_embd": model.hidden_size,
        "n_layer": model.layers,
        "n_head": model.heads,
        "n_inner": model.ffn_hidden_size,
        "activation_function": "gelu" if model.activation == "gelu" else "gelu_new",
        "layer_norm_epsilon": model.norm_epsilon,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    }


def _bert(model: ModelConfig) -> dict[str, Any]:
    assert model.masked_lm is not None
    return {
        "max_position_embeddings": model.max_positions,
        "type_vocab_size": model.masked_lm.token_types,
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": model.ffn_hidden_size,
        "hidden_act": "gelu" if model.activation == "gelu" else "gelu_new",
        "layer_norm_eps": model.norm_epsilon,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def _decoder(model: ModelConfig, sequence_length: int) -> dict[str, Any]:
    moe, mla = model.moe, model.mla
    settings: dict[str, Any] = {
        "hidden_size": model.hidden_size,
        "intermediate_size": model.ffn_hidden_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.heads if mla else model.query_groups,
        "rms_norm_eps": model.norm_epsilon,
        "max_position_embeddings": sequence_length,
        "rope_parameters": rope_parameters(model),
        "attention_bias": False,
    }
    if mla is None:
        settings["head_dim"] = model.kv_channels
    else:
        settings |= {
            "kv_lora_rank": mla.kv_rank,
            "q_lora_rank": mla.q_rank,
            "qk_nope_head_dim": mla.nope_head_dim,
            "qk_rope_head_dim": mla.rope_head_dim,
            "v_head_dim": mla.value_head_dim,
            "num_nextn_predict_layers": model.mtp.depth if model.mtp else 0,
            "first_k_dense_replace": model.layers,
        }
    if moe is None:
        return settings
    settings["num_experts_per_tok"] = moe.top_k
    if model.family == "mixtral":
        return settings | {"num_local_experts": moe.experts, "intermediate_size": moe.ffn_hidden_size}
    settings["moe_intermediate_size"] = moe.ffn_hidden_size
    settings["norm_topk_prob"] = moe.normalise
    if model.family == "qwen3_moe":
        return settings | {"num_experts": moe.experts, "mlp_only_layers": list(range(moe.dense_layers))}
    settings |= {
        "n_routed_experts": moe.experts,
        "n_shared_experts": moe.shared_experts,
        "first_k_dense_replace": moe.dense_layers,
        "n_group": moe.groups or 1,
        "topk_group": moe.top_groups or 1,
        "routed_scaling_factor": moe.scale,
    }
    return settings | ({"sliding_window": None} if model.family == "dots1" else {})


def rope_parameters(model: ModelConfig) -> dict[str, Any]:
    """transformers' `rope_parameters`. NTK-aware scaling is a larger base, nothing else, and becomes that."""
    scaling = model.rope_scaling
    if scaling is None or scaling.kind == "ntk":
        return {"rope_type": "default", "rope_theta": effective_theta(model)}
    out: dict[str, Any] = {"rope_type": scaling.kind, "rope_theta": model.rope_theta, "factor": scaling.factor}
    if scaling.kind == "llama3":
        out |= {"low_freq_factor": scaling.low_frequency_factor, "high_freq_factor": scaling.high_frequency_factor}
    if scaling.kind == "yarn":
        out |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
        if scaling.mscale is not None:
            out |= {"mscale": scaling.mscale, "mscale_all_dim": scaling.mscale_all_dim}
    if scaling.original_length is not None:
        out["original_max_position_embeddings"] = scaling.original_length
    return out


def model_config(folder: Path) -> tuple[ModelConfig, Any]:
    """Our configuration of the model in a Hugging Face folder, and transformers'.

    Raises:
        InputError: no readable config.json, an architecture that we do not have, or a setting that we do not.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not a Hugging Face model folder (no config.json); give the folder of a model")
    try:
        theirs = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}/config.json: not readable ({str(error).splitlines()[0]})") from None
    family = theirs.model_type
    if family not in _ARCHITECTURES:
        raise InputError(
            f"{folder}: a model of type {family!r} cannot be imported; known: {', '.join(sorted(_ARCHITECTURES))}"
        )
    for setting, expected in _REFUSED.items():
        found = getattr(theirs, setting, expected)
        if found != expected:
            raise InputError(f"{folder}: {setting} is {found!r}, only {expected!r} can be imported")
    read = {"gpt2": _read_gpt2, "bert": _read_bert}.get(family, _read_decoder)
    try:
        model = ModelConfig(**read(theirs, folder))
    except ValidationError as error:
        raise InputError(f"{folder}: cannot be imported, {explain_validation(ModelConfig, error)}") from None
    if model.family != family:
        raise InputError(f"{folder}: this {family} model would become a {model.family}; it cannot be imported")
    return model, theirs


_REFUSED: dict[str, Any] = {
    "attention_bias": False,
    "mlp_bias": False,
    "sliding_window": None,
    "decoder_sparse_step": 1,
    "rope_interleave": True,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "add_cross_attention": False,
    "is_decoder": False,
    "partial_rotary_factor": 1.0,
}


def _gelu(name: str, folder: Path) -> str:
    kinds = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
    if name not in kinds:
        raise InputError(f"{folder}: activation {name!r} cannot be imported; known: {', '.join(kinds)}")
    return kinds[name]


def _read_gpt2(theirs: Any, folder: Path) -> dict[str, Any]:
    return {
        "layers": theirs.n_layer,
        "hidden_size": theirs.n_embd,
        "ffn_hidden_size": theirs.n_inner or 4 * theirs.n_embd,
        "heads": theirs.n_head,
        "kv_heads": None,
        "norm": "layer",
        "activation": _gelu(theirs.activation_function, folder),
        "biases": True,
        "positions": "learned",
        "max_positions": theirs.n_positions,
        "norm_epsilon": theirs.layer_norm_epsilon,
        "tied_embeddings": theirs.tie_word_embeddings,
        "init_std": theirs.initializer_range,
    }


def _read_bert(theirs: Any, folder: Path) -> dict[str, Any]:
    return {
        "layers": theirs.num_hidden_layers,
        "hidden_size": theirs.hidden_size,
        "ffn_hidden_size": theirs.intermediate_size,
        "heads": theirs.num_attention_heads,
        "kv_heads": None,
        "norm": "layer",
        "activation": _gelu(theirs.hidden_act, folder),
        "biases": True,
        "positions": "learned",
        "max_positions": theirs.max_position_embeddings,
        "masked_lm": {"token_types": theirs.type_vocab_size, "mask_token": "[MASK]"},
        "norm_epsilon": theirs.layer_norm_eps,
        "tied_embeddings": theirs.tie_word_embeddings,
        "init_std": theirs.initializer_range,
    }


def _read_decoder(theirs: Any, folder: Path) -> dict[str, Any]:
    if theirs.hidden_act != "silu":
        raise InputError(f"{folder}: activation {theirs.hidden_act!r} cannot be imported; only 'silu' in this family")
    values: dict[str, Any] = {
        "layers": theirs.num_hidden_layers,
        "hidden_size": theirs.hidden_size,
        "ffn_hidden_size": theirs.intermediate_size,
        "heads": theirs.num_attention_heads,
        "qk_norm": theirs.model_type in ("qwen3", "qwen3_moe", "dots1"),
        "tied_embeddings": theirs.tie_word_embeddings,
        "norm_epsilon": theirs.rms_norm_eps,
        "init_std": theirs.initializer_range,
        "rope_theta": theirs.rope_parameters["rope_theta"],
        "rope_scaling": _read_scaling(theirs, folder),
    }
    if theirs.model_type == "deepseek_v3":
        values["mla"] = {
            "kv_rank": theirs.kv_lora_rank,
            "q_rank": theirs.q_lora_rank,
            "nope_head_dim": theirs.qk_nope_head_dim,
            "rope_head_dim": theirs.qk_rope_head_dim,
            "value_head_dim": theirs.v_head_dim,
        }
    else:
        width = getattr(theirs, "head_dim", None)
        values["kv_heads"] = theirs.num_key_value_heads
        values["head_dim"] = None if width == theirs.hidden_size // theirs.num_attention_heads else width
    moe = _read_moe(theirs, folder)
    return values | ({"moe": moe} if moe else {})


def _read_moe(theirs: Any, folder: Path) -> dict[str, Any] | None:
    kind = theirs.model_type
    if kind == "mixtral":
        return {
            "experts": theirs.num_local_experts,
            "top_k": theirs.num_experts_per_tok,
            "ffn_hidden_size": theirs.intermediate_size,
        }
    if kind == "qwen3_moe":
        dense = sorted(theirs.mlp_only_layers)
        if dense != list(range(len(dense))):
            raise InputError(f"{folder}: mlp_only_layers {dense}: only the first layers may be dense")
        return {
            "experts": theirs.num_experts,
            "top_k": theirs.num_experts_per_tok,
            "ffn_hidden_size": theirs.moe_intermediate_size,
            "normalise": theirs.norm_topk_prob,
            "dense_layers": len(dense),
        }
    if kind in ("deepseek_v3", "dots1") and theirs.first_k_dense_replace < theirs.num_hidden_layers:
        grouped = theirs.n_group != 1
        return {
            "experts": theirs.n_routed_experts,
            "top_k": theirs.num_experts_per_tok,
            "ffn_hidden_size": theirs.moe_intermediate_size,
            "shared_experts": theirs.n_shared_experts or 0,
            "dense_layers": theirs.first_k_dense_replace,
            "score": "sigmoid",
            "normalise": theirs.norm_topk_prob,
            "scale": theirs.routed_scaling_factor,
            "groups": theirs.n_group if grouped else None,
            "top_groups": theirs.topk_group if grouped else None,
            "expert_bias": True,
            "balance_weight": 1e-4,
        }
    return None


def _read_scaling(theirs: Any, folder: Path) -> RopeScalingConfig | None:
    found = theirs.rope_parameters
    kind = found.get("rope_type", "default")
    if kind == "default":
        return None
    if kind not in ("linear", "yarn", "llama3"):
        raise InputError(f"{folder}: rope_type {kind!r} cannot be imported; known: default, linear, yarn, llama3")
    names = {
        "factor": "factor",
        "original_max_position_embeddings": "original_length",
        "low_freq_factor": "low_frequency_factor",
        "high_freq_factor": "high_frequency_factor",
        "beta_fast": "beta_fast",
        "beta_slow": "beta_slow",
        "mscale": "mscale",
        "mscale_all_dim": "mscale_all_dim",
    }
    unknown = set(found) - set(names) - {"rope_type", "type", "rope_theta", "attention_factor", "truncate"}
    if unknown or found.get("attention_factor") is not None or not found.get("truncate", True):
        raise InputError(f"{folder}: these rope_parameters cannot be imported: {found}")
    return RopeScalingConfig(kind=kind, **{ours: found[key] for key, ours in names.items() if found.get(key)})
