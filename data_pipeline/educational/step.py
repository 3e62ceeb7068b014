"""The educational-value step of the corpus."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from datatrove.data import Document, DocumentsPipeline

from data_pipeline.base import DropLog, Measure
from data_pipeline.base.rules import RuleFilter
from data_pipeline.educational.config import EducationalConfig
from millbase.artifacts import open_artifact
from millbase.errors import UserError

if TYPE_CHECKING:
    from data_pipeline.educational.model import EducationalModel

KIND = "educational-model"
_DECIMALS = 3


class EducationalFilter(RuleFilter):
    """Sets `quality.educational` and drops documents that score below the limit. Documents are scored in batches."""

    name = "🎓 Educational value"
    step_name = "educational"

    def __init__(self, config: EducationalConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        if config.model is None:
            raise ValueError("the educational step needs a model")
        self.config, self.model = config, config.model
        open_artifact(self.model, kind=KIND)  # a bad model is told now, not by every worker

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """As every step; scores come from batches of documents."""
        yield from super().run(self._scored(data or ()), rank, world_size)

    def rules(self, document: Document) -> Iterator[Measure]:
        """`educational`."""
        quality = document.metadata.setdefault("quality", {})
        if "educational" not in quality:
            [score] = load_educational_model(self.model).score([document.text])
            quality["educational"] = round(score, _DECIMALS)
        score, least = quality["educational"], self.config.min_score
        yield Measure("educational", score, least, least is None or score >= least)

    def _scored(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents with their scores; where scoring a batch fails, without: then each is scored by itself, and the
        one at fault is found."""
        source = iter(documents)
        while batch := list(islice(source, self.config.batch_size)):
            started = time.process_time()
            try:
                scores = load_educational_model(self.model).score([document.text for document in batch])
                for document, score in zip(batch, scores, strict=True):
                    document.metadata.setdefault("quality", {})["educational"] = round(score, _DECIMALS)
            except UserError:
                raise
            except Exception:  # the page at fault is dropped by `judge`
                pass
            self.seconds += time.process_time() - started
            yield from batch


@functools.cache
def load_educational_model(path: str) -> EducationalModel:
    """The model, loaded once in each process. Raises ArtifactError when it is missing or damaged."""
    from data_pipeline.educational.model import EducationalModel  # brings torch

    return EducationalModel.load(path)
