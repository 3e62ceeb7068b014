"""Knowledge distillation: a student learns a teacher's next-token distributions on the assistant's tokens.

    llmill distill data=instructions.jsonl model=runs/student teacher=runs/teacher --out runs/distilled

White box: the teacher's logits are seen, and both models have the same tokenizer. For a teacher of which only texts are
to be had (black box), write its answers as instructions and run `llmill sft`.

`on_policy` is the share of steps on the student's own samples instead of the data's answers (Agarwal et al. 2024,
algorithm 1): it learns where it goes itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from training.posttrain.config import PosttrainConfig


class DistillConfig(PosttrainConfig):
    """Distillation of a teacher into a checkpoint; writes a `checkpoint`."""

    teacher: str
    """Teacher: a `checkpoint` artifact or a Hugging Face model folder with the same tokenizer."""
    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = "forward_kl"
    """forward_kl covers what the teacher does, reverse_kl avoids what it does not, jsd lies between them."""
    jsd_beta: float = Field(default=0.5, gt=0, lt=1)
    """For `jsd`: towards 0 it behaves like forward_kl, towards 1 like reverse_kl."""
    temperature: float = Field(default=1.0, gt=0)
    """Both models' logits are divided by this; the divergence is multiplied by its square, which keeps the gradient's
    size (Hinton et al. 2015, section 2)."""
    cross_entropy_weight: float = Field(default=0.0, ge=0)
    """Weight of the cross-entropy on the data's own tokens, added to the divergence."""
    top_k: int | None = Field(default=None, gt=0)
    """Keep only the teacher's most probable tokens, and the mass of all others as one outcome; computed once before
    training and kept on disk (8 bytes a kept token). null: the whole vocabulary, the teacher run at every step."""
    teacher_cache: str | None = None
    """Folder in which the teacher's tokens are kept for other runs, by a digest of its weights and the token rows. null
    keeps them for this run's own resumption only."""
    on_policy: float = Field(default=0.0, ge=0, le=1)
    """Share of optimizer steps whose answers the student samples itself; the first answer of a conversation is
    replaced."""
    max_new_tokens: int = Field(default=128, gt=0)
    """Longest sampled answer, in tokens."""

    @model_validator(mode="after")
    def _sampling_fits(self) -> DistillConfig:
        if self.on_policy and self.top_k is not None:
            raise ValueError(
                f"top_k = {self.top_k} is computed before training, and on_policy = {self.on_policy:g} samples answers "
                "during it; leave one of the two unset"
            )
        if self.on_policy and self.cross_entropy_weight:
            raise ValueError("cross_entropy_weight has no answers of the data to learn where on_policy samples them")
        return self


def train_distill(config: DistillConfig, out: str | Path) -> Path:
    """Distil `config.teacher` into `config.model` on `config.data` and write a `checkpoint` artifact at `out`.

    Raises UserError subclasses for unusable data, models and settings; see `Stage.run` about resuming.
    """
    from training.posttrain.stages.distill import DistillStage

    return DistillStage(config).run(out)
