"""The model in Megatron's terms, and the layout over ranks it is built for."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state, tensor_parallel
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.transformer.transformer_config import TransformerConfig

from training.pretrain.config import PretrainConfig
from training.pretrain.spec import block_spec


def padded_vocab(vocab_size: int, multiple: int) -> int:
    """Rows of the embedding: `vocab_size` rounded up. The same for every layout, so checkpoints fit all of them."""
    return -(-vocab_size // multiple) * multiple


def initialize_layout(config: PretrainConfig) -> None:
    """Split the started ranks into tensor, pipeline and data groups (torch.distributed must be initialised)."""
    layout = config.parallel
    parallel_state.initialize_model_parallel(layout.tensor, layout.pipeline)
    tensor_parallel.model_parallel_cuda_manual_seed(config.seed)


def transformer_config(config: PretrainConfig) -> TransformerConfig:
    """Megatron's configuration object for ours."""
    model, layout = config.model, config.parallel
    dtype = getattr(torch, config.dtype)
    on_gpu = torch.cuda.is_available()
    return TransformerConfig(
        num_layers=model.layers,
        hidden_size=model.hidden_size,
        ffn_hidden_size=model.ffn_hidden_size,
        num_attention_heads=model.heads,
        num_query_groups=model.kv_heads,
        kv_channels=model.kv_channels,
        qk_layernorm=model.qk_norm,
        normalization="RMSNorm",
        layernorm_epsilon=model.norm_epsilon,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        tensor_model_parallel_size=layout.tensor,
        pipeline_model_parallel_size=layout.pipeline,
        sequence_parallel=layout.sequence_parallel,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        # weights.py sets every weight afterwards; but only where Megatron initialises them too does it mark its
        # tensor-parallel parameters, and unmarked ones are left out of the gradient norm on all ranks but the first.
        perform_initialization=True,
        use_cpu_initialization=not on_gpu,
        # Gradients are summed over tokens and divided by the number of tokens of the whole batch, so the loss is the
        # mean over tokens, whatever the micro-batch and the layout.
        calculate_per_token_loss=True,
        # These need Apex's or Megatron's compiled kernels.
        gradient_accumulation_fusion=False,
        masked_softmax_fusion=False,
        bias_activation_fusion=on_gpu,
        bias_dropout_fusion=on_gpu,
    )


def build_model(config: PretrainConfig, vocab_size: int) -> Any:
    """This rank's part of the model (a GPTModel), its weights not yet set. `vocab_size`: the tokenizer's."""
    megatron = transformer_config(config)
    model = GPTModel(
        megatron,
        block_spec(megatron, masked=config.data.mask_across_documents),
        vocab_size=padded_vocab(vocab_size, config.model.vocab_multiple),
        max_sequence_length=config.data.sequence_length,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        position_embedding_type="rope",
        rotary_base=config.model.rope_theta,
        share_embeddings_and_output_weights=config.model.tied_embeddings,
    )
    if model.post_process and vocab_size % config.model.vocab_multiple:
        _hide_padding(model.output_layer, vocab_size, config)
    return model.to(dtype=getattr(torch, config.dtype), device=torch.cuda.current_device())


def _hide_padding(output_layer: Any, vocab_size: int, config: PretrainConfig) -> None:
    """Give padding rows of the vocabulary probability 0: the exported model has none, and must be the same model."""
    rows = padded_vocab(vocab_size, config.model.vocab_multiple) // config.parallel.tensor
    first = parallel_state.get_tensor_model_parallel_rank() * rows
    padding = torch.arange(first, first + rows) >= vocab_size

    def hide(module: Any, inputs: Any, output: tuple[torch.Tensor, Any]) -> tuple[torch.Tensor, Any]:
        logits, bias = output
        return logits.masked_fill(padding.to(logits.device), float("-inf")), bias

    output_layer.register_forward_hook(hide)
