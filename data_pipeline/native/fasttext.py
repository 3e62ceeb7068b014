"""fastText's supervised models: read by the extension, else by the fasttext library.

The extension maps the file into memory, so that all workers share one copy of a large model, remembers the rows of
words it has met, and is ten times as fast on lid.176; its probabilities differ from the library's by less than a
millionth. The library reads what the extension does not: other losses than softmax and hierarchical softmax, and
quantised output.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from data_pipeline.native import kernels


class FastTextModel(Protocol):
    """A classifier of texts."""

    @property
    def labels(self) -> list[str]:
        """Every label, as the file spells it."""

    def predict(self, text: str, k: int = 1) -> list[tuple[str, float]]:
        """The `k` most likely labels and their probabilities, best first; line breaks count as blanks."""


class LibraryModel:
    """The same by the fasttext library: the reference."""

    def __init__(self, path: str | Path) -> None:
        import fasttext

        fasttext.FastText.eprint = lambda *_: None  # it greets on stderr
        self._model = fasttext.load_model(str(path))

    @property
    def labels(self) -> list[str]:
        return list(self._model.get_labels())

    def predict(self, text: str, k: int = 1) -> list[tuple[str, float]]:
        # The list form: with one string, fasttext 0.9.3 fails under numpy 2. A newline would end the text, and a lone
        # surrogate is refused.
        line = text.replace("\n", " ").encode("utf-8", "replace").decode()
        labels, probabilities = self._model.predict([line], k=k)
        return [(str(label), float(p)) for label, p in zip(labels[0], probabilities[0], strict=True)]


def load_fasttext(path: str | Path) -> FastTextModel:
    """The model in `path`. Raises ValueError when it is no supervised fastText model."""
    if not Path(path).is_file():
        raise ValueError(f"{str(path)!r} cannot be opened for loading!")
    if kernels is not None:
        try:
            model: Any = kernels.FastText(str(path))
        except ValueError:
            pass
        else:
            return model  # type: ignore[no-any-return]
    return LibraryModel(path)
