"""Words and sentences, cut once per document and shared by all heuristics.

`Tokens` counts what the rules ask for in C++ where the native extension is there; `PlainTokens` is its reference.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from datatrove.data import Document
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

from data_pipeline.native import kernels
from data_pipeline.native.characters import word_pattern

_WIDE_MARKS = "。！？｡"  # end a sentence wherever they stand; the others before white space
_MARKS = "…" + "".join(sorted(TERMINAL_PUNCTUATION - set(_WIDE_MARKS)))
_SENTENCE_END = re.compile(rf"[{re.escape(_MARKS)}]+[\"'”’»)\]]*(?=\s)|[{_WIDE_MARKS}]+[」』”’）]*")


class TokensLike(Protocol):
    """A text cut into words; punctuation marks are words of their own."""

    def __len__(self) -> int: ...

    def words(self) -> list[str]:
        """The words in order."""

    def plain_words(self) -> tuple[int, int]:
        """(words that are no punctuation, characters in them)."""

    def letter_words(self) -> int:
        """Words with at least one letter."""

    def distinct(self, words: Any) -> int:
        """Different words of `words`, a `WordSet`, in the text."""

    def top_n_gram(self, n: int) -> tuple[int, int]:
        """Characters of the most frequent n-gram, joined by blanks, and how often it occurs.

        The first one on a tie; (0, 0) for none.
        """

    def duplicate_n_gram_characters(self, n: int) -> int:
        """Characters in n-grams that occurred before, scanning left to right and skipping past each one found."""


class PlainTokens:
    """`Tokens` in plain Python, from words that were cut already."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)

    def __len__(self) -> int:
        return len(self._words)

    def words(self) -> list[str]:
        return self._words

    def plain_words(self) -> tuple[int, int]:
        lengths = [len(word) for word in self._words if not PUNCTUATION_SET.issuperset(word)]
        return len(lengths), sum(lengths)

    def letter_words(self) -> int:
        return sum(map(has_letter, self._words))

    def distinct(self, words: frozenset[str]) -> int:
        return len(words.intersection(self._words))

    def top_n_gram(self, n: int) -> tuple[int, int]:
        counts = Counter(n_grams(self._words, n))
        gram, count = max(counts.items(), key=lambda item: item[1], default=((), 0))
        return (sum(map(len, gram)) + n - 1, count) if count else (0, 0)

    def duplicate_n_gram_characters(self, n: int) -> int:
        grams = ["".join(gram) for gram in n_grams(self._words, n)]  # joined, as datatrove compares them
        seen: set[str] = set()
        characters = position = 0
        while position < len(grams):
            gram = grams[position]
            if gram in seen:
                characters += len(gram)
                position += n
            else:
                seen.add(gram)
                position += 1
        return characters


def tokenise(text: str) -> TokensLike:
    """The words of `text`: runs of letters, digits, underscores and combining marks (with one inner apostrophe),
    letters of scripts without blanks one by one, and single other characters."""
    if kernels is None:
        return PlainTokens(split_words(text))
    tokens: TokensLike = kernels.Tokens(text)
    return tokens


def tokens_of(document: Document) -> TokensLike:
    """`tokenise` of the document's text, kept until the text changes."""
    cached = document.metadata.get("words")
    if cached is None or cached[0] is not document.text:
        cached = document.metadata["words"] = (document.text, tokenise(document.text))
    tokens: TokensLike = cached[1]
    return tokens


def word_set(words: Iterable[str]) -> Any:
    """Words to look for with `TokensLike.distinct`."""
    return frozenset(words) if kernels is None else kernels.WordSet(list(words))


def split_words(text: str) -> list[str]:
    """The words that `tokenise` gives, in plain Python."""
    return word_pattern().findall(text)


def has_letter(word: str) -> bool:
    """True when any character is a letter."""
    return word.isalpha() or any(map(str.isalpha, word))


def n_grams(words: list[str], n: int) -> Iterable[tuple[str, ...]]:
    """All runs of `n` words, in order."""
    return zip(*(words[start:] for start in range(n)), strict=False)


def count_sentences(line: str) -> int:
    """Sentences in one line: closed ones and, if text is left after them, one more; at least one."""
    ends = [match.end() for match in _SENTENCE_END.finditer(line)]
    rest = line[ends[-1] :] if ends else line
    return max(1, len(ends) + bool(rest.strip()))
