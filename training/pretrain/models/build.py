"""One pipeline stage of a model, of whichever family the configuration says."""

from __future__ import annotations

from typing import Any

from training.pretrain.models.config import ModelConfig
from training.pretrain.models.decoder import DecoderModel
from training.pretrain.models.encoder import EncoderModel, encoder_block_spec
from training.pretrain.models.rope import set_frequencies
from training.pretrain.spec import block_spec, mtp_spec


def build_stage(
    model: ModelConfig,
    megatron: Any,
    rows: int,
    *,
    sequence_length: int,
    masked: bool,
    first: bool,
    last: bool,
    vp_stage: int | None = None,
) -> Any:
    """A GPTModel, or one that is called like it, its weights not yet set.

    Args:
        model: our configuration; `megatron`: Megatron's (`settings.megatron_config`).
        rows: rows of the token embedding, padding included.
        sequence_length: longest sequence, in tokens.
        masked: attention takes an explicit mask.
        first, last: this stage has the embedding, the output projection.
        vp_stage: number of the virtual stage, None without.
    """
    learned = model.positions == "learned"
    shared = {
        "vocab_size": rows,
        "max_sequence_length": model.max_positions if learned else sequence_length,
        "pre_process": first,
        "post_process": last,
        "position_embedding_type": "learned_absolute" if learned else "rope",
        "rotary_base": model.rope_theta,
        "share_embeddings_and_output_weights": model.tied_embeddings,
        "vp_stage": vp_stage,
    }
    if model.masked_lm:
        layers = encoder_block_spec(megatron, vp_stage)
        return EncoderModel(megatron, layers, token_types=model.masked_lm.token_types, **shared)
    layers = block_spec(megatron, masked=masked, vp_stage=vp_stage)
    stage = DecoderModel(megatron, layers, mtp_block_spec=mtp_spec(megatron, masked, vp_stage), **shared)
    set_frequencies(stage, model)
    return stage
