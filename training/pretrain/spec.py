"""The layer specification: Megatron's own parallel linear layers with torch norms and torch attention.

Only Megatron's extension points are used (BackendSpecProvider, ModuleSpec). Names in checkpoints are those of the
Transformer Engine specification, so that checkpoints can be exchanged with Megatron built on it.
"""

from __future__ import annotations

from typing import Any

from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.models.backends import LocalSpecProvider
from megatron.core.models.gpt.gpt_layer_specs import get_mlp_module_spec_for_backend
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules

from training.pretrain.attention import SDPACoreAttention
from training.pretrain.norms import TorchNorm

_CHECKPOINT_NAMES = {
    "input_layernorm.": "self_attention.linear_qkv.layer_norm_",
    "pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_",
}


class TorchBackend(LocalSpecProvider):  # type: ignore[misc]
    """Megatron's local modules with our norm and attention."""

    def layer_norm(self, rms_norm: bool = False, for_qk: bool = False) -> type:
        """The norm's class; it looks up its kind in the model's configuration."""
        return TorchNorm

    def core_attention(self) -> type:
        """The attention's class."""
        return SDPACoreAttention


def block_spec(config: Any, masked: bool) -> TransformerBlockSubmodules:
    """The layers of this pipeline stage. `masked`: attention takes an explicit mask instead of plain causal."""
    backend = TorchBackend()
    norm = backend.layer_norm()
    qk_norm = norm if config.qk_layernorm else IdentityOp
    mask_type = AttnMaskType.arbitrary if masked else AttnMaskType.causal
    attention = ModuleSpec(
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
    layer = ModuleSpec(
        TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=norm,
            self_attention=attention,
            self_attn_bda=get_bias_dropout_add,
            pre_mlp_layernorm=norm,
            mlp=get_mlp_module_spec_for_backend(backend, num_experts=None, moe_grouped_gemm=False),
            mlp_bda=get_bias_dropout_add,
            sharded_state_dict_keys_map=_CHECKPOINT_NAMES,
        ),
    )
    return TransformerBlockSubmodules(layer_specs=[layer] * get_num_layers_to_build(config), layer_norm=norm)
