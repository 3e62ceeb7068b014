"""The quality step of the corpus: scores every document with a trained classifier and drops the worst."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from datatrove.data import Document
from pydantic import Field

from data_pipeline.base import DropLog, Measure
from data_pipeline.base.rules import RuleFilter, at_least
from millbase.config import Config

if TYPE_CHECKING:
    from data_pipeline.quality.model import QualityModel


class QualityFilterConfig(Config):
    """Scores documents with a quality classifier; without a model, nothing is scored or dropped."""

    model: str | None = None
    """Directory of a `quality-model` artifact; null switches the step off."""
    min_score: float | None = Field(default=None, ge=0.0, le=1.0)
    """Documents that score less are dropped; null takes the threshold chosen when the model was trained, 0 keeps all
    and leaves the choice to `llmill corpus filter`."""


class QualityFilter(RuleFilter):
    """Sets `quality.score` and `quality.bucket`, and drops documents that score below the threshold."""

    name = "⭐ Quality"
    step_name = "quality"

    def __init__(self, config: QualityFilterConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        if config.model is None:
            raise ValueError("the quality step needs a model")
        self.model = config.model
        self.min_score = config.min_score

    def rules(self, document: Document) -> Iterator[Measure]:
        """`low_score`."""
        model = load_quality_model(self.model)
        score = round(float(model.score([document.text], [document.metadata.get("url") or ""])[0]), 6)
        document.metadata.setdefault("quality", {}).update(score=score, bucket=model.bucket(score))
        yield at_least("low_score", score, self.min_score if self.min_score is not None else model.threshold)


@functools.cache
def load_quality_model(path: str) -> QualityModel:
    """The model, loaded once in each process. Raises ArtifactError when it is missing or damaged."""
    from data_pipeline.quality.model import QualityModel  # brings training's libraries, a second in every worker

    return QualityModel.load(path)
