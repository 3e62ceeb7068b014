"""Configuration of what pretraining reads, and in which mixture, and of the held-out loss."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from millbase.config import Config

_STEPS = re.compile(r"(\d+):(\d+)")


class SourceConfig(Config):
    """One source of the mixture: a tokens artifact, or the documents of one that carry a value in column `source`."""

    name: str
    """What the source is called in the schedule, in metrics and in messages; the order does not depend on it."""
    tokens: str | None = None
    """Its `tokens` artifact; default `data.tokens`."""
    column: str | None = None
    """Only the documents whose column `source` says this; default all documents of the artifact."""
    weight: float = Field(default=1.0, ge=0)
    """Share of the sequences, relative to the other sources; 0 leaves it out until a phase raises it."""
    max_epochs: float | None = Field(default=None, gt=0)
    """Passes over its tokens after which it is left out and the others share its place; default no limit."""


class MixturePhase(Config):
    """Weights that hold from a position on."""

    from_sequence: int | None = Field(default=None, ge=0)
    """Sequence number (counted from 0 over the whole training) from which the weights hold."""
    from_tokens: int | None = Field(default=None, ge=0)
    """The same as tokens trained on before; rounded up to a whole sequence."""
    weights: dict[str, float]
    """New weights by source name; sources not named keep the weight they had."""

    @model_validator(mode="after")
    def _one_position(self) -> Self:
        if (self.from_sequence is None) == (self.from_tokens is None):
            raise ValueError("a phase needs from_sequence or from_tokens, one of them")
        if any(not weight >= 0 for weight in self.weights.values()):
            raise ValueError(f"weights {self.weights} must not be negative")
        return self


class PastStage(Config):
    """An earlier stage of the same training, at another sequence length; filled in on `checkpoint.resume_from`."""

    steps: int = Field(ge=0)
    """Optimizer steps of the stage."""
    sequences: int = Field(ge=0)
    """Sequences it trained on."""
    sequence_length: int = Field(gt=1)
    """Tokens of each."""


class DataConfig(Config):
    """What is read: token shards, cut into sequences."""

    tokens: str
    """The `tokens` artifact to train on; with `sources`, the one whose tokenizer and held-out split count."""
    sources: list[SourceConfig] = []
    """Sources to mix; default all of `tokens` as one. All artifacts must have been made with the same tokenizer."""
    schedule: list[MixturePhase] = []
    """Weights over the training (annealing, curriculum), in order of position. A phase changes nothing before it."""
    history: list[PastStage] = []
    """Earlier stages at other sequence lengths. `checkpoint.resume_from` fills it in: leave it empty."""
    sequence_length: int = Field(default=256, gt=1)
    """Tokens a sequence; also the exported model's context length."""
    mask_across_documents: bool = False
    """Let no token attend to another document packed into its sequence. (Rotary positions are relative, so
    within a document this equals restarting the positions.)"""
    mask_loss_at_document_start: bool = False
    """Leave the first token of a document out of the training loss: nothing before it says what it will be."""
    prefetch: int = Field(default=2, ge=0)
    """Optimizer steps whose batches a thread reads ahead; 0 reads each when it is needed. Changes speed only."""

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"data.sources has a name twice: {', '.join(names)}; rename one")
        places = [(source.tokens or self.tokens, source.column) for source in self.sources]
        for index, (tokens, column) in enumerate(places):
            if any(t == tokens and (c == column or None in (c, column)) for t, c in places[:index]):
                raise ValueError(
                    f"source {names[index]!r} holds documents of another source too (tokens {tokens!r}, column "
                    f"{column!r}); give each source its own artifact or column value"
                )
        for phase in self.schedule:
            unknown = sorted(set(phase.weights) - set(names))
            if unknown:
                raise ValueError(f"data.schedule names {', '.join(unknown)}; data.sources has {', '.join(names)}")
        return self


class EvaluationConfig(Config):
    """Loss on the held-out split during training."""

    every_steps: int = Field(default=100, gt=0)
    """Steps between two evaluations; there is one at the end in any case."""
    tokens: int = Field(default=32_768, gt=0)
    """Held-out documents are read, in their stored order, until they hold this many tokens."""
    by_source: bool = True
    """With `data.sources`, also report the loss on each source's held-out documents (`tokens` of each)."""


def step_range(text: str) -> range:
    """`"A:B"` as the steps A to B - 1. ValueError when it is anything else."""
    match = _STEPS.fullmatch(text.strip())
    if match is None or int(match[1]) >= int(match[2]):
        raise ValueError(f"{text!r} is no range of steps; write A:B with A < B for the steps A to B - 1")
    return range(int(match[1]), int(match[2]))
