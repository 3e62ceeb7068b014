"""What an ablation compares."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import Field, model_validator

from millbase.config import Config

_NAME = re.compile(r"[a-z][a-z0-9]*")


class StageSource(Config):
    """Configuration of a stage: a file, fields that override it, dotted keys that override single ones."""

    file: str | None = None
    """YAML file, relative to the ablation's."""
    config: dict[str, Any] = {}
    """Fields; they override those of `file`."""
    set: dict[str, Any] = {}
    """Dotted keys, applied last."""


class CorpusSource(StageSource):
    """A corpus: one that is finished, or the stage that makes it."""

    corpus: str | None = None
    """Finished corpus artifact; then nothing else is needed."""
    run: str = "corpus"
    """Kind of the stage that makes it, such as `corpus`, `filter` or `mix`."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.corpus is None) == (self.file is None and not self.config and not self.set):
            raise ValueError("give either corpus, a finished one, or file and config of the stage that makes it")
        return self


class AblateConfig(Config):
    """Two corpora, one model, several seeds."""

    description: str = ""
    """What is asked."""
    arms: dict[str, CorpusSource]
    """The corpus in question first, then the one it is held against, by name."""
    tokenizer: str | None = None
    """Tokenizer artifact for all models; null trains one on the texts of both arms."""
    vocab_size: int = Field(default=4096, ge=300)
    """Entries of the tokenizer that is trained."""
    pretrain: StageSource
    """The model and its training, the same for all: steps and batch, and so the tokens, are equal by construction."""
    seeds: list[int] = [1, 2, 3]
    """One model per arm and seed; the interval is over them and over the items."""
    held_out: dict[str, CorpusSource]
    """Texts that none of the arms may contain, by name: bits per byte on each is a score."""
    held_out_documents: int = Field(default=200, gt=0)
    """Score at most so many documents of each."""
    evaluate: StageSource = StageSource()
    """Further blocks of the evaluation, such as `tasks`, and its general fields."""
    jobs: int = Field(default=1, gt=0)
    """Stages that run at once."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len(self.arms) != 2:
            raise ValueError(f"arms: expected two, found {len(self.arms)}")
        if len(self.seeds) < 2 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected at least two different ones, found {self.seeds}")
        if not self.held_out:
            raise ValueError("held_out: name at least one set of texts to score")
        for name in (*self.arms, *self.held_out):
            if not _NAME.fullmatch(name):
                raise ValueError(f"name {name!r}: expected lower-case letters and digits, starting with a letter")
        if set(self.arms) & set(self.held_out):
            raise ValueError("arms and held_out must have different names")
        return self
