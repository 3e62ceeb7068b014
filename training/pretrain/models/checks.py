"""What can be wrong between a model and the rest of a pretraining configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.pretrain.config import PretrainConfig


def check_model(config: PretrainConfig) -> None:
    """ValueError, with what to change, when the data cannot be read by such a model."""
    model, data = config.model, config.data
    if model.positions == "learned" and data.sequence_length > model.max_positions:
        raise ValueError(
            f"data.sequence_length {data.sequence_length} is more than model.max_positions {model.max_positions}, the "
            "learned positions; raise max_positions or shorten the sequences"
        )
    if model.masked_lm and (data.mask_across_documents or data.mask_loss_at_document_start):
        name = "mask_across_documents" if data.mask_across_documents else "mask_loss_at_document_start"
        raise ValueError(f"data.{name} is for decoders; switch it off with model.masked_lm")
    if model.masked_lm and config.parallel.context > 1:
        raise ValueError("parallel.context over 1 is for decoders; set it to 1 with model.masked_lm")
