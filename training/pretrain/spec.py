"""The layer specification: Megatron's own parallel linear layers with torch norms and torch attention.

Only Megatron's extension points are used (BackendSpecProvider, ModuleSpec). Names in checkpoints are those of the
Transformer Engine specification, so that checkpoints can be exchanged with Megatron built on it.
"""

from __future__ import annotations

from typing import Any

from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.models.backends import LocalSpecProvider
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_decoder_block_spec,
    get_gpt_mtp_block_spec,
    get_gpt_mtp_block_spec_for_backend,
    get_mlp_module_spec_for_backend,
)
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.multi_latent_attention import MLASelfAttentionSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_layer import (
    TransformerLayer,
    TransformerLayerSubmodules,
    get_transformer_layer_offset,
)

from training.pretrain.attention import SDPACoreAttention
from training.pretrain.latent_attention import TPSafeMLASelfAttention
from training.pretrain.norms import LatentNorm, TorchNorm

_ATTENTION_NORM = {"input_layernorm.": "self_attention.linear_qkv.layer_norm_"}
_MLP_NORM = {"pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_"}
_LATENT_NORMS = {
    "self_attention.q_layernorm.": "self_attention.linear_q_up_proj.layer_norm_",
    "self_attention.kv_layernorm.": "self_attention.linear_kv_up_proj.layer_norm_",
}


class TorchBackend(LocalSpecProvider):  # type: ignore[misc]
    """Megatron's local modules with our norm and attention."""

    def layer_norm(self, rms_norm: bool = False, for_qk: bool = False) -> type:
        """The norm's class; it looks up its kind in the model's configuration."""
        return TorchNorm

    def core_attention(self) -> type:
        """The attention's class."""
        return SDPACoreAttention


def block_spec(config: Any, masked: bool, vp_stage: int | None = None) -> TransformerBlockSubmodules:
    """The layers of this pipeline stage (or of its virtual stage `vp_stage`).

    `config`: Megatron's TransformerConfig; `masked`: attention takes an explicit mask instead of plain causal.
    """
    if config.transformer_impl == "transformer_engine":
        return get_gpt_decoder_block_spec(config, use_transformer_engine=True, vp_stage=vp_stage)
    frequency = config.moe_layer_freq
    moe = config.num_moe_experts is not None
    has_experts = frequency if isinstance(frequency, list) else [int(moe)] * config.num_layers
    specs = [layer_spec(config, moe=bool(layer), masked=masked) for layer in has_experts]
    first = get_transformer_layer_offset(config, vp_stage)
    count = get_num_layers_to_build(config, vp_stage)
    return TransformerBlockSubmodules(layer_specs=specs[first : first + count], layer_norm=TorchNorm)


def mtp_spec(config: Any, masked: bool, vp_stage: int | None = None) -> Any:
    """The layers of multi-token prediction, on the last pipeline stage; None elsewhere and without them."""
    if not config.mtp_num_layers:
        return None
    if config.transformer_impl == "transformer_engine":
        block = get_gpt_decoder_block_spec(config, use_transformer_engine=True, vp_stage=vp_stage)
        return get_gpt_mtp_block_spec(config, block, use_transformer_engine=True, vp_stage=vp_stage)
    layer = layer_spec(config, moe=config.num_moe_experts is not None, masked=masked)
    return get_gpt_mtp_block_spec_for_backend(config, layer, TorchBackend(), vp_stage=vp_stage)


def layer_spec(config: Any, moe: bool, masked: bool) -> ModuleSpec:
    """One transformer layer; `moe`: with experts."""
    backend = TorchBackend()
    norm = backend.layer_norm()
    mlp = get_mlp_module_spec_for_backend(
        backend, num_experts=config.num_moe_experts if moe else None, moe_grouped_gemm=config.moe_grouped_gemm
    )
    latent = config.multi_latent_attention
    # Megatron's multi-token prediction does not know `arbitrary`; both mean that the mask is given.
    given = AttnMaskType.padding_causal if config.mtp_num_layers else AttnMaskType.arbitrary
    mask_type = given if masked else AttnMaskType.causal
    names = (_LATENT_NORMS if latent else _ATTENTION_NORM) | ({} if moe else _MLP_NORM)
    return ModuleSpec(
        TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=norm,
            self_attention=(_latent_attention if latent else _attention)(config, backend, mask_type),
            self_attn_bda=get_bias_dropout_add,
            pre_mlp_layernorm=norm,
            mlp=mlp,
            mlp_bda=get_bias_dropout_add,
            sharded_state_dict_keys_map=names,
        ),
    )


def _attention(config: Any, backend: TorchBackend, mask_type: AttnMaskType) -> ModuleSpec:
    qk_norm = backend.layer_norm() if config.qk_layernorm else IdentityOp
    return ModuleSpec(
        SelfAttention,
        params={"attn_mask_type": mask_type},
        submodules=SelfAttentionSubmodules(
            linear_qkv=backend.column_parallel_linear(),
            core_attention=backend.core_attention(),
            linear_proj=backend.row_parallel_linear(),
            q_layernorm=qk_norm,
            k_layernorm=qk_norm,
        ),
    )


def _latent_attention(config: Any, backend: TorchBackend, mask_type: AttnMaskType) -> ModuleSpec:
    column = backend.column_parallel_linear()
    return ModuleSpec(
        TPSafeMLASelfAttention,
        params={"attn_mask_type": mask_type},
        submodules=MLASelfAttentionSubmodules(
            linear_q_proj=column,
            linear_q_down_proj=column,
            linear_q_up_proj=column,
            linear_kv_down_proj=column,
            linear_kv_up_proj=column,
            core_attention=backend.core_attention(),
            linear_proj=backend.row_parallel_linear(),
            q_layernorm=LatentNorm,
            kv_layernorm=LatentNorm,
        ),
    )
