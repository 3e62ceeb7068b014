"""A `perplexity-model` artifact: the n-gram model, its tokeniser, and the limits of its buckets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_pipeline.perplexity.tokens import Tokeniser
from millbase.artifacts import open_artifact
from millbase.errors import ArtifactError, InputError

KIND = "perplexity-model"
MODEL_FILE = "model.lm"
"""ARPA or KenLM binary; KenLM tells them apart by their first bytes."""
PIECES_FILE = "pieces.model"


class PerplexityModel:
    """Scores texts. With a KenLM binary all processes of a machine share its memory; an ARPA file is read by each."""

    def __init__(self, model: Any, tokeniser: Tokeniser, head: float, tail: float) -> None:
        self._model, self._tokeniser = model, tokeniser
        self.head, self.tail = head, tail
        """Perplexities: at most `head` is the head, above `tail` the tail."""

    @classmethod
    def load(cls, path: str | Path) -> PerplexityModel:
        """Load the artifact at `path`; ArtifactError when it is missing, damaged, or something else, InputError without
        the package kenlm."""
        manifest = open_artifact(path, kind=KIND)
        if MODEL_FILE not in manifest.files:
            raise ArtifactError(f"{str(path)!r} holds no {MODEL_FILE}; train the perplexity model again")
        pieces = manifest.path / PIECES_FILE if PIECES_FILE in manifest.files else None
        tokeniser = Tokeniser(pieces, bool(manifest.config["normalise"]))
        model = load_kenlm(manifest.path / MODEL_FILE)
        return cls(model, tokeniser, float(manifest.stats["head"]), float(manifest.stats["tail"]))

    def perplexity(self, text: str) -> float:
        """10 to the negative mean log10 probability of the tokens and the end of the text."""
        return perplexity(self._model, self._tokeniser.line(text))

    def bucket(self, value: float) -> str:
        """`head`, `middle` or `tail`."""
        return "head" if value <= self.head else "middle" if value <= self.tail else "tail"


def perplexity(model: Any, line: str) -> float:
    """Perplexity of a line of tokens under a KenLM model, as CCNet computes it."""
    tokens = line.count(" ") + 1 if line else 0
    value: float = 10.0 ** (-model.score(line, bos=True, eos=True) / (tokens + 1))
    return value


def load_kenlm(path: str | Path) -> Any:
    """The n-gram model at `path` (ARPA or binary). Raises InputError when it, or the package, is missing or damaged."""
    try:
        import kenlm
    except ImportError:
        raise InputError(
            "perplexity needs the package kenlm, which is built from source with cmake and a C++ compiler; "
            "run: pip install 'llmill[perplexity]'"
        ) from None
    if not Path(path).is_file():
        raise InputError(f"n-gram model {str(path)!r} does not exist; give an ARPA file or a KenLM binary")
    config = kenlm.Config()
    config.show_progress = False
    try:
        return kenlm.Model(str(path), config)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{str(path)!r} is no n-gram model ({reason}); give an ARPA file or a KenLM binary") from None
