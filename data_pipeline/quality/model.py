"""The trained classifier: scores texts, and knows the threshold that was set when it was trained."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fasttext
import numpy as np

from millbase.artifacts import open_artifact
from millbase.errors import ArtifactError

KIND = "quality-model"
MODEL_FILE = "model.bin"
POSITIVE, NEGATIVE = "__label__good", "__label__raw"

_TOKEN = re.compile(r"\w+|[^\w\s\x00]")
_BATCH = 1024


def to_line(text: str, max_characters: int) -> str:
    """One line for fastText: the first characters, lower-cased, words and punctuation marks apart.

    fastText splits at white space only; without this, `end.` and `end` are unrelated words. The label prefix is
    broken up on the way (its underscores would survive as a word), so that a page cannot label itself.
    """
    start = text[:max_characters].encode("utf-8", "replace").decode()  # fastText refuses lone surrogates
    return " ".join(_TOKEN.findall(start.lower().replace("__label__", " label ")))


class QualityModel:
    """A quality classifier loaded from a `quality-model` artifact."""

    def __init__(self, model: Any, threshold: float, max_characters: int) -> None:
        self._model = model
        self.threshold = threshold
        """Texts that score at least this much are kept."""
        self.max_characters = max_characters

    @classmethod
    def load(cls, path: str | Path) -> "QualityModel":
        """Load the artifact at `path`; ArtifactError when it is missing, damaged, or something else."""
        manifest = open_artifact(path, kind=KIND)
        if MODEL_FILE not in manifest.files:
            raise ArtifactError(f"{str(path)!r} holds no {MODEL_FILE}; train the quality model again")
        model = fasttext.load_model(str(manifest.path / MODEL_FILE))
        return cls(model, float(manifest.stats["threshold"]), int(manifest.config["max_characters"]))

    def score(self, texts: Sequence[str]) -> list[float]:
        """Probability in [0, 1] of the positive class for each text; 0 for a text without words."""
        scores: list[float] = []
        for start in range(0, len(texts), _BATCH):
            lines = [to_line(text, self.max_characters) for text in texts[start : start + _BATCH]]
            scores += score_lines(self._model, lines)
        return scores


def score_lines(model: Any, lines: Sequence[str]) -> list[float]:
    """Positive probabilities of prepared lines. (`predict` of a list: that of one string breaks with numpy 2.)"""
    labels, probabilities = model.predict(list(lines), k=2)
    scores = []
    for line, names, values in zip(lines, labels, probabilities, strict=True):
        # fastText's probabilities carry a smoothing term and may exceed 1 by 1e-5
        by_label = dict(zip(names, np.clip(values, 0.0, 1.0).tolist(), strict=True))
        scores.append(by_label.get(POSITIVE, 0.0) if line else 0.0)
    return scores
