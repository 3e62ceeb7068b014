"""The quality step of the corpus: scores every document with a trained classifier and drops the worst."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from datatrove.data import Document
from pydantic import Field

from data_pipeline.base import CorpusStep, Drop, DropLog
from millbase.config import Config

if TYPE_CHECKING:
    from data_pipeline.quality.model import QualityModel


class QualityFilterConfig(Config):
    """Scores documents with a quality classifier; without a model, nothing is scored or dropped."""

    model: str | None = None
    """Directory of a `quality-model` artifact; null switches the step off."""
    min_score: float | None = Field(default=None, ge=0.0, le=1.0)
    """Documents that score less are dropped; null takes the threshold chosen when the model was trained."""


class QualityFilter(CorpusStep):
    """Sets the `quality` column and drops documents that score below the threshold."""

    name = "⭐ Quality"
    step_name = "quality"

    def __init__(self, config: QualityFilterConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        if config.model is None:
            raise ValueError("the quality step needs a model")
        self.model = config.model
        self.min_score = config.min_score

    def judge(self, document: Document) -> Drop | None:
        """The reason is `low_score`."""
        model = load_quality_model(self.model)
        score = round(float(model.score([document.text])[0]), 6)
        document.metadata["quality"] = {"score": score}
        threshold = self.min_score if self.min_score is not None else model.threshold
        return Drop("low_score", score, threshold) if score < threshold else None


@functools.cache
def load_quality_model(path: str) -> QualityModel:
    """The model, loaded once in each process. Raises ArtifactError when it is missing or damaged."""
    from data_pipeline.quality.model import QualityModel  # brings training's libraries, a second in every worker

    return QualityModel.load(path)
