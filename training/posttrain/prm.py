"""A process reward model: the probability that each step of a solution is right, learned from labelled steps.

    llmill prm data=steps.jsonl model=runs/sft --out runs/prm

The starting checkpoint gets a head of two classes, read at the last token of every step (the separator's); the loss is
the mean cross-entropy over all labelled steps of an optimizer step, whatever the micro-batches (Lightman et al. 2023,
section 2.3). `llmill ppo`, `reject` and `evaluate` take the artifact wherever they take a reward model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from training.posttrain.config import PosttrainConfig


class PrmConfig(PosttrainConfig):
    """Training of a process reward model on labelled steps; writes a `process-reward-model`."""

    separator: str = "\n\n"
    """Text that stands between two steps of a solution, and after the last; scoring splits solutions at it. A blank one
    needs quotes on the command line: 'separator=" "'."""
    aggregate: Literal["min", "product", "last"] = "min"
    """How one reward of a solution is made of its steps' probabilities: the least, their product, or the last one.
    `score` of the loaded model uses it; training does not."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """For the held-out figures: the first step less probable than this is called the first error."""

    @model_validator(mode="after")
    def _separator_is_text(self) -> PrmConfig:
        if not self.separator:
            raise ValueError("separator is empty; steps are told apart by it, for example '\\n\\n'")
        return self


def train_prm(config: PrmConfig, out: str | Path) -> Path:
    """Train a process reward model on the steps of `config.data` and write a `process-reward-model` artifact at `out`.

    Raises UserError subclasses for unusable data, models and settings; see `Stage.run` about resuming.
    """
    from training.posttrain.stages.prm import PrmStage

    return PrmStage(config).run(out)
