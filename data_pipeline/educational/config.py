"""Options of the educational-value step and of the training of its model."""

from __future__ import annotations

from pydantic import Field

from data_pipeline.texts import TextSource
from millbase.config import Config


class EducationalConfig(Config):
    """Scores documents by their educational value, 0 to 5; drops nothing unless a limit is set."""

    model: str | None = None
    """An `educational-model` artifact; null switches the step off. On a CPU a model of 100 million parameters takes a
    second a page: score what other filters left, or use a small one."""
    min_score: float | None = Field(default=None, ge=0.0, le=5.0)
    """Documents that score less are dropped; null for no limit (FineWeb-Edu keeps 3 and more)."""
    batch_size: int = Field(default=16, gt=0)
    """Documents scored at a time. In the last digits a score depends on the documents beside it; they are rounded
    off."""


class LabelledSource(TextSource):
    """Files of rows that hold a text and its score."""

    score_field: str = "score"
    """Column or JSON key of the score, a number from 0 to 5."""


class EducationalModelConfig(Config):
    """Distils scores, given by people or by a large model, into a small transformer with one output."""

    labels: list[LabelledSource] = Field(min_length=1)
    """Texts with scores. FineWeb-Edu had 450,000 pages scored from 0 to 5 by Llama-3-70B-Instruct."""
    base_model: str
    """Folder of a Hugging Face encoder with its tokenizer (FineWeb-Edu: Snowflake/snowflake-arctic-embed-m)."""
    freeze_encoder: bool = True
    """Train only the regression head, as FineWeb-Edu did; false trains all weights, with a smaller learning rate."""
    max_tokens: int = Field(default=512, gt=0)
    """Only the first so many tokens of a text are read, in training and in scoring."""
    epochs: int = Field(default=20, gt=0)
    """Passes over the training rows."""
    batch_size: int = Field(default=32, gt=0)
    """Rows a step."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """AdamW's learning rate; falls linearly to 0."""
    heldout_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the rows, by a hash of the text, kept from training to measure."""
    threshold: float = Field(default=3.0, ge=0, le=5)
    """Score from which a text counts as educational in the measured precision, recall and F1."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the split, the order of rows and the new weights."""
