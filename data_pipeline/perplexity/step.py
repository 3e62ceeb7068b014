"""The perplexity step of the corpus."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from datatrove.data import Document

from data_pipeline.base import DropLog, Measure
from data_pipeline.base.rules import RuleFilter
from data_pipeline.perplexity.config import PerplexityConfig

if TYPE_CHECKING:
    from data_pipeline.perplexity.model import PerplexityModel


class PerplexityFilter(RuleFilter):
    """Sets `quality.perplexity` and `quality.perplexity_bucket`, and drops documents beyond the limits."""

    name = "📉 Perplexity"
    step_name = "perplexity"

    def __init__(self, config: PerplexityConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        for path in config.models.values():
            load_perplexity_model(path)  # a bad model is told now, not by every worker

    def rules(self, document: Document) -> Iterator[Measure]:
        """`perplexity`, `low_perplexity`; none for a language without a model."""
        config = self.config
        language = document.metadata.get("language") or config.default_language
        if language not in config.models:
            return
        model = load_perplexity_model(config.models[language])
        value = round(model.perplexity(document.text), 2)
        document.metadata.setdefault("quality", {}).update(perplexity=value, perplexity_bucket=model.bucket(value))
        most = {None: None, "head": model.head, "middle": model.tail}[config.keep]
        least = config.min_perplexity
        yield Measure("perplexity", value, most, most is None or value <= most)
        yield Measure("low_perplexity", value, least, least is None or value >= least)


@functools.cache
def load_perplexity_model(path: str) -> PerplexityModel:
    """The model, loaded once in each process. Raises what `PerplexityModel.load` raises."""
    from data_pipeline.perplexity.model import PerplexityModel

    return PerplexityModel.load(path)
