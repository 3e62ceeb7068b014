"""A model's architecture as the options of Megatron's TransformerConfig."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F

from training.pretrain.models.config import MLAConfig, ModelConfig, MoEConfig
from training.pretrain.models.rope import attention_options

_BALANCE = {"sequence": "seq_aux_loss", "batch": "aux_loss", "none": "none"}


def megatron_config(model: ModelConfig, **layout: Any) -> Any:
    """Megatron's configuration object: the architecture of `model` with the options of a layout over ranks."""
    from megatron.core.transformer.transformer_config import MLATransformerConfig, TransformerConfig

    kind = MLATransformerConfig if model.mla else TransformerConfig
    config = kind(**architecture(model), **layout)
    for name, value in attention_options(model).items():
        setattr(config, name, value)
    return config


def architecture(model: ModelConfig) -> dict[str, Any]:
    """Keyword arguments for TransformerConfig, or MLATransformerConfig with latent attention."""
    options: dict[str, Any] = {
        "num_layers": model.layers,
        "hidden_size": model.hidden_size,
        "ffn_hidden_size": model.ffn_hidden_size,
        "num_attention_heads": model.heads,
        "num_query_groups": model.heads if model.mla else model.query_groups,
        "kv_channels": model.kv_channels,
        "qk_layernorm": model.qk_norm,
        "normalization": "RMSNorm" if model.norm == "rms" else "LayerNorm",
        "layernorm_epsilon": model.norm_epsilon,
        "gated_linear_unit": model.gated,
        "activation_func": _activation(model),
        "add_bias_linear": model.biases,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        # Megatron's fused GELU is the tanh approximation whatever was asked for, and takes no other function.
        "bias_activation_fusion": torch.cuda.is_available() and model.gated,
    }
    if model.moe:
        options |= _moe(model, model.moe)
    if model.mla:
        options |= _mla(model, model.mla)
    if model.mtp:
        options |= {"mtp_num_layers": model.mtp.depth, "mtp_loss_scaling_factor": model.mtp.loss_weight}
    return options


def _activation(model: ModelConfig) -> Any:
    if model.activation == "swiglu":
        return F.silu
    return F.gelu if model.activation == "gelu" else functools.partial(F.gelu, approximate="tanh")


def _moe(model: ModelConfig, moe: MoEConfig) -> dict[str, Any]:
    layers = [int(model.is_moe_layer(layer)) for layer in range(model.layers)]
    return {
        "num_moe_experts": moe.experts,
        "moe_ffn_hidden_size": moe.ffn_hidden_size,
        "moe_shared_expert_intermediate_size": moe.shared_width or None,
        # A list, even of equal entries, would make checkpoints name the layers one by one.
        "moe_layer_freq": 1 if model.uniform else layers,
        "moe_router_topk": moe.top_k,
        "moe_router_score_function": moe.score,
        "moe_router_pre_softmax": not moe.normalise,
        "moe_router_topk_scaling_factor": moe.scale if moe.scale != 1.0 else None,
        "moe_router_num_groups": moe.groups,
        "moe_router_group_topk": moe.top_groups,
        "moe_router_load_balancing_type": _BALANCE[moe.balance],
        "moe_aux_loss_coeff": moe.balance_weight if moe.balance != "none" else 0.0,
        "moe_router_enable_expert_bias": moe.expert_bias,
        "moe_router_bias_update_rate": moe.expert_bias_rate,
        "moe_z_loss_coeff": moe.z_loss or None,
        # as all published models do: experts' scores are too close to one another for bfloat16
        "moe_router_dtype": "fp32",
        "moe_token_dispatcher_type": "alltoall",
        "moe_grouped_gemm": False,
    }


def _mla(model: ModelConfig, mla: MLAConfig) -> dict[str, Any]:
    scaling = model.rope_scaling
    options: dict[str, Any] = {
        "multi_latent_attention": True,
        "q_lora_rank": mla.q_rank,
        "kv_lora_rank": mla.kv_rank,
        "qk_head_dim": mla.nope_head_dim,
        "qk_pos_emb_head_dim": mla.rope_head_dim,
        "v_head_dim": mla.value_head_dim,
        "qk_layernorm": True,  # the norms on the two low-rank vectors
        "rope_type": "rope",
        "rotary_base": model.rope_theta,
        # Megatron sharpens the scores by YaRN's formula even without YaRN; a factor of 1 is none.
        "rotary_scaling_factor": 1.0,
    }
    if scaling is not None and scaling.kind == "yarn":
        options |= {
            "rope_type": "yarn",
            "rotary_scaling_factor": scaling.factor,
            "original_max_position_embeddings": scaling.original_length,
            "beta_fast": scaling.beta_fast,
            "beta_slow": scaling.beta_slow,
            "mscale": 1.0 if scaling.mscale is None else scaling.mscale,
            "mscale_all_dim": 0.0 if scaling.mscale_all_dim is None else scaling.mscale_all_dim,
        }
    return options
