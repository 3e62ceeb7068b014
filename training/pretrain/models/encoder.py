"""BERT (Devlin et al. 2018) from Megatron's parts: norms after the residual additions, and a head that names tokens.

Megatron's own BertModel puts the norms before the layers and takes other arguments than its GPTModel; this one is built
and called as the decoder is, so the same engine, pipeline schedules and checkpoints serve it.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
from megatron.core.models.gpt.gpt_layer_specs import get_mlp_module_spec_for_backend
from megatron.core.tensor_parallel.layers import set_tensor_model_parallel_attributes
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules
from torch import Tensor

from training.pretrain.models.decoder import DecoderModel
from training.pretrain.norms import TorchNorm
from training.pretrain.spec import TorchBackend


class EncoderModel(DecoderModel):
    """A bidirectional encoder with learned positions and a masked-language-modelling head.

    Forward as GPTModel's: token and position ids `[B, T]` to logits `[B, T, V / TP]`, with labels to losses `[B, T]`.
    """

    def __init__(self, config: Any, *args: Any, token_types: int, **kwargs: Any) -> None:
        """As GPTModel's, and the number of segments."""
        super().__init__(config, *args, **kwargs)
        if self.pre_process:
            self.embedding.__class__ = EncoderEmbedding
            self.embedding.add_segments_and_norm(token_types)
        if self.post_process:
            self.prediction_head = PredictionHead(config)
            # Megatron builds a decoder's output projection without a bias; it uses one where there is one.
            rows = self.output_layer.output_size_per_partition
            bias = torch.nn.Parameter(torch.zeros(rows, dtype=config.params_dtype))
            set_tensor_model_parallel_attributes(bias, is_parallel=True, dim=0, stride=1)
            self.output_layer.bias = bias

    def _postprocess(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.post_process:
            hidden_states = self.prediction_head(hidden_states)
        return super()._postprocess(hidden_states, *args, **kwargs)


class EncoderEmbedding(LanguageModelEmbedding):  # type: ignore[misc]
    """Token, position and segment embeddings, normalised."""

    def add_segments_and_norm(self, token_types: int) -> None:
        """Make Megatron's embedding into BERT's."""
        self.tokentype_embeddings = torch.nn.Embedding(
            token_types, self.config.hidden_size, dtype=self.config.params_dtype
        )
        self.norm = TorchNorm(self.config, self.config.hidden_size, self.config.layernorm_epsilon)

    def forward(self, input_ids: Tensor, position_ids: Tensor, tokentype_ids: Tensor | None = None) -> Tensor:
        """Ids `[B, T]` to `[T, B, H]`; all tokens are of segment 0 unless said otherwise."""
        if tokentype_ids is None:
            tokentype_ids = torch.zeros_like(input_ids)
        out: Tensor = self.norm(super().forward(input_ids, position_ids, tokentype_ids))
        return out


class PredictionHead(torch.nn.Module):
    """BERT's transformation before the output projection; each tensor-parallel rank has all of it."""

    def __init__(self, config: Any) -> None:
        """`config`: Megatron's."""
        super().__init__()
        self.dense = torch.nn.Linear(config.hidden_size, config.hidden_size, dtype=config.params_dtype)
        self.norm = TorchNorm(config, config.hidden_size, config.layernorm_epsilon)
        self.activation = config.activation_func
        for parameter in self.dense.parameters():
            # Under sequence parallelism a rank sees a part of the sequence: gradients are summed over the ranks.
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, hidden: Tensor) -> Tensor:
        """`[T, B, H]` to the same shape."""
        out: Tensor = self.norm(self.activation(self.dense(hidden)))
        return out


class PostNormLayer(TransformerLayer):  # type: ignore[misc]
    """A transformer layer that normalises after each residual addition."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        """As Megatron's."""
        super().__init__(config, *args, **kwargs)
        self.post_attention_layernorm = TorchNorm(config, config.hidden_size, config.layernorm_epsilon)
        self.post_mlp_layernorm = TorchNorm(config, config.hidden_size, config.layernorm_epsilon)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> tuple[Tensor, Any]:
        """`[T, B, H]` to the same shape, with Megatron's second result, which encoders do not have."""
        packed = kwargs.get("packed_seq_params")
        out = self.self_attention(hidden_states, attention_mask=attention_mask, packed_seq_params=packed)
        hidden_states = self.post_attention_layernorm(_add(hidden_states, out))
        return self.post_mlp_layernorm(_add(hidden_states, self.mlp(hidden_states))), None


def _add(residual: Tensor, result: tuple[Tensor, Tensor | None]) -> Tensor:
    out, bias = result
    return residual + (out if bias is None else out + bias)


def encoder_block_spec(config: Any, vp_stage: int | None = None) -> TransformerBlockSubmodules:
    """The layers of this pipeline stage; there is no norm after the last one."""
    backend = TorchBackend()
    attention = ModuleSpec(
        SelfAttention,
        params={"attn_mask_type": AttnMaskType.no_mask},
        submodules=SelfAttentionSubmodules(
            linear_qkv=backend.column_parallel_linear(),
            core_attention=backend.core_attention(),
            linear_proj=backend.row_parallel_linear(),
            q_layernorm=IdentityOp,
            k_layernorm=IdentityOp,
        ),
    )
    layer = ModuleSpec(
        PostNormLayer,
        submodules=TransformerLayerSubmodules(
            self_attention=attention, mlp=get_mlp_module_spec_for_backend(backend, num_experts=None)
        ),
    )
    return TransformerBlockSubmodules(layer_specs=[layer] * get_num_layers_to_build(config, vp_stage), layer_norm=None)
