"""Supervised fine-tuning on conversations, on the assistant's tokens only.

    llmill sft configs/posttrain/sft_demo.yaml --out runs/sft

The loss of a step is the mean cross-entropy over all assistant tokens of its `batch_size` rows, whatever the
micro-batches (TRL divides by the token count of the whole step).
"""

from __future__ import annotations

from pathlib import Path

from training.posttrain.config import PosttrainConfig


class SftConfig(PosttrainConfig):
    """Supervised fine-tuning of a checkpoint on instructions; writes a `checkpoint`."""

    packing: bool = False
    """Fill sequences of max_length with whole conversations (best-fit decreasing; they do not see one another). Saves
    padding on GPUs; on CPUs sorting by length (length_window) is faster. batch_size then counts filled sequences."""


def train_sft(config: SftConfig, out: str | Path) -> Path:
    """Fine-tune `config.model` on `config.data` and write a `checkpoint` artifact at `out`.

    Raises UserError subclasses for unusable data, models and settings; see `Stage.run` about resuming.
    """
    from training.posttrain.stages.sft import SftStage

    return SftStage(config).run(out)
