"""Models in Hugging Face's form: weights (`piece`, `decoder`, `classic`), configuration (`settings`), `files`."""

from __future__ import annotations

from collections.abc import Iterator

from training.pretrain.models.config import ModelConfig
from training.pretrain.models.hf import classic, decoder
from training.pretrain.models.hf.piece import Piece


def pieces(model: ModelConfig) -> Iterator[Piece]:
    """Every weight of the model that its Hugging Face form has, one after the other."""
    if model.family == "gpt2":
        return classic.gpt2_pieces(model)
    if model.family == "bert":
        return classic.bert_pieces(model)
    return decoder.pieces(model)


__all__ = ["Piece", "pieces"]
