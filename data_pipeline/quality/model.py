"""The trained classifier: scores texts, and knows the threshold that was set when it was trained."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipeline.native.fasttext import FastTextModel, load_fasttext
from data_pipeline.quality.folds import Alignment, fold_of, group_of
from data_pipeline.quality.measures import bucket_of
from millbase.artifacts import open_artifact
from millbase.errors import ArtifactError

KIND = "quality-model"
POSITIVE, NEGATIVE = "__label__good", "__label__raw"

_TOKEN = re.compile(r"\w+|[^\w\s\x00]")
_BATCH = 1024


def model_files(folds: int) -> list[str]:
    """Names of the fastText models in the artifact."""
    return ["model.bin"] if folds == 1 else [f"model-{fold}.bin" for fold in range(folds)]


def to_line(text: str, max_characters: int) -> str:
    """One line for fastText: the first characters, lower-cased, words and punctuation marks apart.

    fastText splits at white space only; without this, `end.` and `end` are unrelated words. The label prefix is
    broken up on the way (its underscores would survive as a word), so that a page cannot label itself.
    """
    start = text[:max_characters].encode("utf-8", "replace").decode()  # fastText refuses lone surrogates
    return " ".join(_TOKEN.findall(start.lower().replace("__label__", " label ")))


class QualityModel:
    """A quality classifier loaded from a `quality-model` artifact: one fastText model a fold."""

    def __init__(self, models: Sequence[FastTextModel], config: Mapping[str, Any], stats: Mapping[str, Any]) -> None:
        self._models = list(models)
        self._alignment = [Alignment(*values) for values in stats.get("alignment", [])]
        self._edges: list[float] = list(stats.get("bucket_edges", []))
        self._seed = int(config["seed"])
        self.threshold = float(stats["threshold"])
        """Texts that score at least this much are kept."""
        self.max_characters = int(config["max_characters"])

    @classmethod
    def load(cls, path: str | Path) -> "QualityModel":
        """Load the artifact at `path`; ArtifactError when it is missing, damaged, or something else."""
        manifest = open_artifact(path, kind=KIND)
        names = model_files(int(manifest.config.get("folds", 1)))
        if missing := [name for name in names if name not in manifest.files]:
            raise ArtifactError(f"{str(path)!r} holds no {missing[0]}; train the quality model again")
        models = [load_fasttext(manifest.path / name) for name in names]
        return cls(models, manifest.config, manifest.stats)

    def score(self, texts: Sequence[str], urls: Sequence[str] | None = None) -> list[float]:
        """Probability in [0, 1] of the positive class for each text; 0 for a text without words.

        With `urls`, texts are scored by the model that saw no page of their site; without, by one that saw no such one.
        """
        scores = [0.0] * len(texts)
        for start in range(0, len(texts), _BATCH):
            lines = [to_line(text, self.max_characters) for text in texts[start : start + _BATCH]]
            groups = [group_of(url) for url in urls[start : start + _BATCH]] if urls else [""] * len(lines)
            folds = [fold_of(line, group, self._seed, len(self._models)) for line, group in zip(lines, groups)]
            for fold in set(folds):
                rows = [row for row, other in enumerate(folds) if other == fold]
                found = score_lines(self._models[fold], [lines[row] for row in rows])
                found = self._alignment[fold].apply(found) if self._alignment else found
                for row, score in zip(rows, found, strict=True):
                    scores[start + row] = score
        return scores

    def bucket(self, score: float) -> int | None:
        """How many twentieths of the raw pages score less, 0 to 19; None for a model from before there were buckets."""
        return bucket_of(score, self._edges) if self._edges else None


def score_lines(model: FastTextModel, lines: Sequence[str]) -> list[float]:
    """Positive probabilities of prepared lines."""
    # fastText's probabilities carry a smoothing term and may exceed 1 by 1e-5
    return [min(dict(model.predict(line, 2)).get(POSITIVE, 0.0), 1.0) if line else 0.0 for line in lines]
