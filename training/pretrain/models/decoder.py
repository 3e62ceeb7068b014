"""Megatron's decoder with what it lacks: logits of a model that has layers of multi-token prediction."""

from __future__ import annotations

from typing import Any

from megatron.core.models.gpt.gpt_model import GPTModel
from torch import Tensor


class DecoderModel(GPTModel):  # type: ignore[misc]
    """A GPTModel whose forward without labels gives logits `[B, T, V / TP]` with multi-token prediction too."""

    def _postprocess(self, hidden_states: Tensor, *args: Any, labels: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Megatron clones the labels whenever there are such layers; without labels they have nothing to do."""
        if labels is not None or not (self.mtp_process and self.post_process):
            result: Tensor = super()._postprocess(hidden_states, *args, labels=labels, **kwargs)
            return result
        tied = self.share_embeddings_and_output_weights
        weight = self.shared_embedding_or_output_weight() if tied else None
        logits, _ = self.output_layer(hidden_states, weight=weight)
        out: Tensor = logits.transpose(0, 1).contiguous()
        return out
