"""The steps that score bad words and toxicity."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash
from datatrove.data import Document

from data_pipeline.base import DropLog, Measure
from data_pipeline.base.rules import RuleFilter
from data_pipeline.native.fasttext import FastTextModel, load_fasttext
from data_pipeline.safety.config import BadWordsConfig, ToxicityConfig
from data_pipeline.safety.words import load_words
from millbase.errors import InputError


class BadWordsFilter(RuleFilter):
    """Sets `safety.bad_words` and `safety.bad_word_share`, and drops documents over the limits."""

    name = "🤬 Bad words"
    step_name = "bad_words"

    def __init__(self, config: BadWordsConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self._allow = frozenset(config.allow)
        for language, path in config.lists.items():
            load_words(path, language, self._allow)  # a bad list is told now, not by every worker

    def rules(self, document: Document) -> Iterator[Measure]:
        """`bad_words`, `bad_word_share`; none for a language without a list."""
        config = self.config
        language = document.metadata.get("language") or config.default_language
        if language not in config.lists:
            return
        count, characters = load_words(config.lists[language], language, self._allow).count(document.text)
        share = round(characters / max(len(document.text), 1), 6)
        document.metadata.setdefault("safety", {}).update(bad_words=count, bad_word_share=share)
        spared = bool(count) and self._is_spared(document.id)
        for rule, value, limit in (("bad_words", count, config.max_count), ("bad_word_share", share, config.max_share)):
            yield Measure(rule, value, limit, spared or limit is None or value <= limit)

    def _is_spared(self, document_id: str) -> bool:
        key = xxhash.xxh3_64_intdigest(document_id.encode("utf-8", "surrogatepass"), seed=self.config.seed)
        return key < self.config.keep_fraction * 2**64


class ToxicityFilter(RuleFilter):
    """Sets `safety.toxicity` and drops documents over the limit."""

    name = "☣ Toxicity"
    step_name = "toxicity"

    def __init__(self, config: ToxicityConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        if config.model is None:
            raise ValueError("the toxicity step needs a model")
        self.config, self.model = config, config.model
        load_toxicity_model(self.model, config.label)  # a bad model is told now, not by every worker

    def rules(self, document: Document) -> Iterator[Measure]:
        """`toxicity`."""
        text, limit = document.text[: self.config.max_characters], self.config.max_score
        units = [text] if self.config.unit == "document" else [line for line in text.split("\n") if line.strip()]
        score = round(max(load_toxicity_model(self.model, self.config.label)(units), default=0.0), 6)
        document.metadata.setdefault("safety", {}).update(toxicity=score)
        yield Measure("toxicity", score, limit, limit is None or score <= limit)


@functools.cache
def load_toxicity_model(path: str, label: str) -> Callable[[list[str]], list[float]]:
    """A function from texts to scores in [0, 1], loaded once in each process.

    Raises InputError for a file that is no fastText classifier or lacks the label, ArtifactError for a bad artifact.
    """
    if Path(path).is_dir():
        from data_pipeline.quality.model import QualityModel

        return QualityModel.load(path).score
    return functools.partial(_score, load_classifier(path, label, "toxicity"), label)


def load_classifier(path: str, label: str, where: str) -> FastTextModel:
    """The classifier at `path`. Raises InputError, naming the configuration `where`, when it is bad or lacks the
    label."""
    if not Path(path).is_file():
        raise InputError(f"{where}.model {path!r} does not exist; give the path of a fastText classifier")
    try:
        model = load_fasttext(path)
        labels = model.labels
    except (ValueError, RuntimeError, MemoryError) as error:
        raise InputError(
            f"{where}.model {path!r} is no fastText classifier ({error}); give a .bin or .ftz file"
        ) from None
    if label not in labels:
        known = ", ".join(map(repr, sorted(labels)[:8]))
        raise InputError(f"{where}.label {label!r} is unknown to {path!r}; it has {known}")
    return model


def _score(model: FastTextModel, label: str, texts: list[str]) -> list[float]:
    count = len(model.labels)
    return [min(1.0, dict(model.predict(text, count)).get(label, 0.0)) for text in texts]
