"""How much of a document is in a second language, by paragraphs."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from data_pipeline.language.codes import canonical
from data_pipeline.language.identification import predict
from data_pipeline.language.scripts import fits

_PARAGRAPHS = 16
_MIN_CHARACTERS = 60  # shorter paragraphs are headings, names, dates: no language to tell
_CHARACTERS = 150
_MIN_SCORE = 0.6


class SecondLanguage(NamedTuple):
    """The language of most paragraphs that are not in the document's own."""

    language: str | None
    """None when every paragraph is in the document's language or cannot be told."""
    share: float
    """Share of the characters looked at."""


def second_language(text: str, language: str, model: str) -> SecondLanguage:
    """Looks at up to sixteen paragraphs of 60 characters or more, evenly spread; each counts with all its characters.

    A paragraph counts as foreign only when the model is sure (0.6) and its script fits.
    """
    paragraphs = [line for line in text.split("\n") if len(line) >= _MIN_CHARACTERS]
    if len(paragraphs) < 2:
        return SecondLanguage(None, 0.0)
    count = min(len(paragraphs), _PARAGRAPHS)
    chosen = [paragraphs[len(paragraphs) * index // count] for index in range(count)]
    others: Counter[str] = Counter()
    pieces = [paragraph[:_CHARACTERS] for paragraph in chosen]
    for paragraph, piece, (guess, script) in zip(chosen, pieces, predict(pieces, model), strict=True):
        foreign = canonical(guess.language) != language and guess.score >= _MIN_SCORE
        if foreign and fits(piece, guess.language, script):
            others[guess.language] += len(paragraph)
    if not others:
        return SecondLanguage(None, 0.0)
    found, characters = min(others.items(), key=lambda item: (-item[1], item[0]))
    return SecondLanguage(found, round(characters / sum(map(len, chosen)), 4))
