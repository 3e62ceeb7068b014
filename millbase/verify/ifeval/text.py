"""Sentences, words and language as IFEval's reference counts them."""

from __future__ import annotations

import functools
import re
from typing import Any


@functools.cache
def _splitter() -> Any:
    """NLTK's sentence splitter with the English parameters it was published with (Kiss & Strunk 2006)."""
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    from punkt.data import english

    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.sent_starters = set(english.SENT_STARTERS)
    for word, flags in english.ORTHO_CONTEXT.items():
        parameters.ortho_context[word] = flags
    splitter = PunktSentenceTokenizer()
    splitter._params = parameters
    return splitter


@functools.cache
def _word_splitter() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def sentences(text: str) -> list[str]:
    """The sentences of an English text."""
    return list(_splitter().tokenize(text))


def words(text: str) -> list[str]:
    """Words and punctuation marks as `nltk.word_tokenize` separates them; a hyphenated word is one."""
    return [word for sentence in sentences(text) for word in _word_splitter().tokenize(sentence)]


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores."""
    return len(re.findall(r"\w+", text))


def is_language(text: str, language: str) -> bool:
    """Whether langdetect calls the text `language` (ISO 639-1); True where it finds nothing to judge by."""
    import langdetect

    langdetect.DetectorFactory.seed = 0  # it samples; unseeded, short texts change their language between calls
    try:
        return bool(langdetect.detect(text) == language)
    except langdetect.LangDetectException:
        return True
