"""Texts as the n-gram model reads them: normalised, cut into tokens, one line a document.

The normalisation is CCNet's text_normalizer.py (facebookresearch/cc_net, MIT licence), which datatrove has too, but for
one thing: line breaks become blanks, where CCNet removes them with the control characters and glues words together.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from millbase.errors import InputError

# fmt: off
_MARKS = {
    "，": ",", "。": ".", "、": ",", "„": '"', "”": '"', "“": '"', "«": '"', "»": '"', "１": '"', "」": '"',
    "「": '"', "《": '"', "》": '"', "´": "'", "∶": ":", "：": ":", "？": "?", "！": "!", "（": "(", "）": ")",
    "；": ";", "–": "-", "—": " - ", "．": ". ", "～": "~", "’": "'", "…": "...", "━": "-", "〈": "<", "〉": ">",
    "【": "[", "】": "]", "％": "%", "►": "-",
}
"""CCNet's table, its quotation mark for a full-width 1 included: published models were trained with it."""
# fmt: on
_TABLE = str.maketrans(_MARKS | {chr(code): None for code in (*range(32), *range(127, 160))})
_DIGIT = re.compile(r"\d")
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+|[^\w\s]")


def normalise(text: str) -> str:
    """Lower case, no accents, digits as 0, plain punctuation marks, no control characters."""
    text = text.lower()
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return _DIGIT.sub("0", text).translate(_TABLE)


class Tokeniser:
    """Cuts texts into tokens: SentencePiece's pieces, or words."""

    def __init__(self, sentencepiece: str | Path | None, normalised: bool) -> None:
        self._pieces = load_sentencepiece(sentencepiece) if sentencepiece is not None else None
        self._normalised = normalised

    def line(self, text: str) -> str:
        """All tokens of `text`, separated by single blanks."""
        text = " ".join(text.split()).encode("utf-8", "replace").decode()
        text = normalise(text) if self._normalised else text
        tokens = _WORD.findall(text) if self._pieces is None else self._pieces.encode(text, out_type=str)
        return " ".join(tokens)


def load_sentencepiece(path: str | Path) -> Any:
    """The SentencePiece model at `path`. Raises InputError when it, or the package, is missing or damaged."""
    try:
        import sentencepiece
    except ImportError:
        raise InputError(
            f"sentencepiece {str(path)!r} needs the package sentencepiece; run: pip install 'llmill[perplexity]'"
        ) from None
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"sentencepiece {str(path)!r} is no SentencePiece model ({reason}); check the path") from None
