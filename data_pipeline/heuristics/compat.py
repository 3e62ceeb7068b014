"""datatrove's own words, sentences and limits, for corpora that must equal those of its FineWeb recipe.

`compat: datatrove` of a step gives every field that is not set the value of datatrove 0.10.1's FineWeb script
(examples/fineweb.py), and cuts words and sentences with spaCy as datatrove does, about a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

from datatrove.data import Document
from datatrove.utils.word_tokenizers import load_tokenizer_assignments, load_word_tokenizer

from data_pipeline.heuristics.tokenise import PlainTokens
from millbase.errors import InputError

Compat = Literal["datatrove"]
_ENGLISH_STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "gopher_repetition": {
        "dup_para_frac": 0.3,
        "dup_para_char_frac": 0.2,
        "dup_line_frac": 0.3,
        "dup_line_char_frac": 0.2,
        "top_n_grams": [(2, 0.2), (3, 0.18), (4, 0.16)],
        "dup_n_grams": [(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)],
    },
    "gopher_quality": {
        "min_words": 50,
        "max_words": 100_000,
        "min_mean_word_length": 3,
        "max_mean_word_length": 10,
        "max_symbol_word_ratio": 0.1,
        "max_bullet_lines": 0.9,
        "max_ellipsis_lines": 0.3,
        "min_alpha_words": 0.8,
        "alpha_words": "tokens",
        "min_stop_words": 2,
        "stop_words": _ENGLISH_STOP_WORDS,
    },
    "c4": {
        "remove_citations": True,
        "require_terminal_punctuation": False,
        "min_sentences": 5,
        "min_words_per_line": 3,
        "max_word_length": 1000,
        "drop_lorem_ipsum": True,
        "drop_curly_bracket": True,
        "max_curly_bracket_lines": None,
        "remove_javascript_lines": True,
        "remove_policy_lines": True,
    },
    "fineweb": {
        "min_line_punctuation": 0.12,
        "max_short_lines": 0.67,
        "short_line_characters": 30,
        "max_duplicate_line_characters": 0.01,
        "max_newlines_per_word": 0.3,
    },
}
"""Limits of datatrove's FineWeb script by step, under our names."""


def fill_published(step: str, values: Any) -> Any:
    """`values` of a configuration block, with `PUBLISHED` under them where `compat` is set."""
    if isinstance(values, Mapping) and values.get("compat") == "datatrove":
        return {**PUBLISHED[step], **values}
    return values


def datatrove_words(document: Document) -> PlainTokens:
    """The words datatrove cuts `document` into, kept until the text changes."""
    cached = document.metadata.get("datatrove_words")
    if cached is None or cached[0] is not document.text:
        words = _tokenizer(document.metadata.get("language")).word_tokenize(document.text)
        cached = document.metadata["datatrove_words"] = (document.text, PlainTokens(words))
    tokens: PlainTokens = cached[1]
    return tokens


def sentence_counter(document: Document) -> Callable[[str], int]:
    """How many sentences datatrove cuts a line into."""
    tokenizer = _tokenizer(document.metadata.get("language"))
    return lambda line: len(tokenizer.span_tokenize(line))


@cache
def _tokenizer(language: str | None) -> Any:
    """datatrove's tokenizer for a language, English where it has none. InputError when its library is missing."""
    code = language if language in load_tokenizer_assignments() else "en"
    try:
        tokenizer = load_word_tokenizer(code)
        tokenizer.word_tokenize("a")
    except ImportError as error:
        raise InputError(
            f"compat: datatrove cuts words of language {code!r} with a library that is missing: "
            f"{' '.join(str(error).split())}; pip install 'llmill[compat]', or run without compat"
        ) from None
    return tokenizer
