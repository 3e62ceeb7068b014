"""Supervised fine-tuning on conversations, on the assistant's tokens only.

    llmill sft configs/posttrain/sft_demo.yaml --out runs/sft

The loss of a step is the mean cross-entropy over all assistant tokens of its `batch_size` rows, whatever the
micro-batches (TRL divides by the token count of the whole step).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from millbase.config import Config
from training.posttrain.config import PosttrainConfig


class MixSource(Config):
    """Further instructions beside `data`."""

    data: str | list[str]
    """Training files, as for `data`."""
    weight: float = Field(default=1.0, gt=0)
    """How often an epoch has each of its rows: 1 once as those of `data`, 3 three times, 0.25 a quarter of the rows,
    drawn with the seed."""


class ReplayConfig(Config):
    """Pretraining text among the instructions, against forgetting (Ibrahim et al. 2024: a few percent are enough)."""

    tokens: str
    """A `tokens` artifact made with the model's tokenizer; its train split is read."""
    share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the trained tokens of an epoch that are replayed ones; every token of a window is trained on."""
    sequence_length: int = Field(default=256, gt=1)
    """Tokens of a window, cut from one document at a random place; shorter documents are taken whole."""


class SftConfig(PosttrainConfig):
    """Supervised fine-tuning of a checkpoint on instructions; writes a `checkpoint`."""

    packing: bool = False
    """Fill sequences of max_length with whole conversations (best-fit decreasing; they do not see one another). Saves
    padding on GPUs; on CPUs sorting by length (length_window) is faster. batch_size then counts filled sequences."""
    mix: list[MixSource] = Field(default_factory=list)
    """Further instructions with weights; `share` and `limit` are for `data` alone. Rows whose prompts are held out by
    eval_share are left out of them too."""
    replay: ReplayConfig | None = None
    """Pretraining text mixed into the training rows; null for none."""
    neftune_alpha: float | None = Field(default=None, gt=0)
    """Uniform noise of at most alpha / sqrt(tokens x hidden size) on the embeddings while training (NEFTune, Jain et
    al. 2024; 5 to 15 there). `tokens` is the padded length of the forward pass, so micro-batches change the noise. null
    for none."""
    quantize: bool = False
    """QLoRA (Dettmers et al. 2023): hold the frozen weights under `lora` in 4 bits. Needs a GPU and bitsandbytes. The
    checkpoint written is the unquantised start with the adapters merged into it."""

    @model_validator(mode="after")
    def _adapters_on_frozen_weights(self) -> SftConfig:
        if self.quantize and self.lora is None:
            raise ValueError("quantize holds frozen weights in 4 bits: set lora too, for what is to be trained")
        return self


def train_sft(config: SftConfig, out: str | Path) -> Path:
    """Fine-tune `config.model` on `config.data` and write a `checkpoint` artifact at `out`.

    Raises UserError subclasses for unusable data, models and settings; see `Stage.run` about resuming.
    """
    from training.posttrain.stages.sft import SftStage

    return SftStage(config).run(out)
