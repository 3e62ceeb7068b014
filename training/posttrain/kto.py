"""KTO: alignment from single answers, each called desirable or not (Ethayarajh et al. 2024); no pairs are needed.

    llmill kto data=labelled.jsonl model=runs/sft --out runs/kto

The KL between policy and reference is estimated, as in the paper's section 4.1, on answers to other prompts: each row
also reads the answer of another row, always the same one, so that the reference's log-probabilities are computed once
and kept. The estimate is the mean over all rows of the optimizer step, whatever the micro-batches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from training.posttrain.config import PosttrainConfig


class KtoConfig(PosttrainConfig):
    """Alignment of a checkpoint on labelled answers; writes a `checkpoint`."""

    beta: float = Field(default=0.1, gt=0)
    """How fast an answer's value saturates with its log-ratio to the reference: small values let the policy move
    far."""
    loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    """kto, or APO-zero on single answers (D'Oosterlinck et al. 2024), which has no KL estimate."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of desirable answers (lambda_D). The paper's equation 8 asks that desirable_weight x desirable answers be
    1 to 4/3 times undesirable_weight x undesirable ones; the run warns outside of 0.75 to 4/3."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of undesirable answers (lambda_U)."""
    reference: str | None = None
    """Reference checkpoint; null for the starting model. Its tokenizer must be the same."""
    reference_cache: str | None = None
    """Folder in which the reference's log-probabilities are kept for other runs, named by a digest of its weights and
    the token rows. null keeps them for this run's own resumption only."""

    @model_validator(mode="after")
    def _rows_to_compare(self) -> KtoConfig:
        if self.micro_rows < 2:
            raise ValueError("KTO's trainer takes no batches of one row; set micro_batch_size to 2 or more")
        return self


def train_kto(config: KtoConfig, out: str | Path) -> Path:
    """Align `config.model` on the labelled answers of `config.data` and write a `checkpoint` artifact at `out`.

    Raises UserError subclasses for unusable data, models and settings; see `Stage.run` about resuming.
    """
    from training.posttrain.stages.kto import KtoStage

    return KtoStage(config).run(out)
