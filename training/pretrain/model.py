"""The model in Megatron's terms, and the layout over ranks it is built for."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state, tensor_parallel

from training.pretrain.config import PretrainConfig
from training.pretrain.cross_entropy import VocabularyLoss
from training.pretrain.hardware import implementation
from training.pretrain.layout import layout_options
from training.pretrain.models.build import build_stage
from training.pretrain.models.settings import megatron_config


def padded_vocab(vocab_size: int, multiple: int) -> int:
    """Rows of the embedding: `vocab_size` rounded up. The same for every layout, so checkpoints fit all of them."""
    return -(-vocab_size // multiple) * multiple


def initialize_layout(config: PretrainConfig) -> None:
    """Split the started ranks into tensor, pipeline, context, expert and data groups (torch.distributed is up)."""
    layout = config.parallel
    parallel_state.initialize_model_parallel(
        layout.tensor,
        layout.pipeline,
        virtual_pipeline_model_parallel_size=layout.virtual_pipeline if layout.virtual_pipeline > 1 else None,
        context_parallel_size=layout.context,
        expert_model_parallel_size=layout.expert,
        expert_tensor_parallel_size=layout.expert_tensor or layout.tensor,
    )
    tensor_parallel.model_parallel_cuda_manual_seed(config.seed)


def transformer_config(config: PretrainConfig) -> Any:
    """Megatron's configuration object for ours."""
    on_gpu = torch.cuda.is_available()
    megatron = megatron_config(
        config.model,
        **layout_options(config),
        transformer_impl=implementation(config),
        # weights.py sets every weight afterwards; but only where Megatron initialises them too does it mark its
        # tensor-parallel parameters, and unmarked ones are left out of the gradient norm on all ranks but the first.
        perform_initialization=True,
        # With ZeRO-2 and 3 parameters have no values yet (`build_model`), and the device has no room for all of them.
        use_cpu_initialization=not on_gpu or config.parallel.zero > 1,
        # Gradients are summed over tokens and divided by the number of tokens of the whole batch, so the loss is the
        # mean over tokens, whatever the micro-batch and the layout.
        calculate_per_token_loss=True,
        # These need Apex's or Megatron's compiled kernels.
        gradient_accumulation_fusion=False,
        masked_softmax_fusion=False,
        bias_dropout_fusion=on_gpu,
    )
    # Megatron's name for the gated layer in one function, which `fused.py` has for CPUs.
    megatron.bias_activation_fusion = config.model.gated
    return megatron


def build_model(config: PretrainConfig, vocab_size: int) -> list[Any]:
    """This rank's chunks of the model (one, or one for each virtual pipeline stage), their weights not yet set.

    With ZeRO-2 and 3 parameters have no memory either. `vocab_size`: the tokenizer's.
    """
    megatron = transformer_config(config)
    virtual = config.parallel.virtual_pipeline
    if config.parallel.zero > 1:
        from training.pretrain.fully_sharded import without_values

        megatron.init_method = megatron.output_layer_init_method = megatron.embedding_init_method = _leave
        with without_values():
            return [_build_chunk(config, megatron, vocab_size, None)]
    return [_build_chunk(config, megatron, vocab_size, chunk if virtual > 1 else None) for chunk in range(virtual)]


def _leave(weight: torch.Tensor) -> torch.Tensor:
    return weight


def _build_chunk(config: PretrainConfig, megatron: Any, vocab_size: int, stage: int | None) -> Any:
    masked = config.data.mask_across_documents
    rows = padded_vocab(vocab_size, config.model.vocab_multiple)
    model = build_stage(
        config.model,
        megatron,
        rows,
        sequence_length=config.data.sequence_length,
        masked=masked,
        first=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=stage),
        last=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=stage),
        vp_stage=stage,
    )
    if config.model.mtp is not None and config.model.tied_embeddings and model.post_process and not model.pre_process:
        # The embedding's copy, which multi-token prediction needs here, is the output projection too; Megatron makes
        # another that nothing uses, and then refuses to save it.
        model.output_layer.register_parameter("weight", None)
    if model.post_process:
        # Megatron's own copies the logits several times; and padding rows of the vocabulary must have probability 0,
        # for the exported model has none and must be the same model.
        model.compute_language_model_loss = VocabularyLoss(
            vocab_size,
            parallel_state.get_tensor_model_parallel_rank() * rows // config.parallel.tensor,
            parallel_state.get_tensor_model_parallel_group(),
            config.optimizer.z_loss,
        )
    if config.parallel.zero > 1:
        return model.to(dtype=torch.float32)
    return model.to(dtype=getattr(torch, config.dtype), device=torch.cuda.current_device())
