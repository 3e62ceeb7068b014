"""Words and sentences by regular expression, computed once per document and shared by all heuristics."""

from __future__ import annotations

import re

from datatrove.data import Document

_WORD = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[」』”’）]*")


def words_of(document: Document) -> list[str]:
    """Words of the document's text, punctuation marks as words of their own; kept until the text changes."""
    cached = document.metadata.get("words")
    if cached is None or cached[0] is not document.text:
        cached = document.metadata["words"] = (document.text, split_words(document.text))
    words: list[str] = cached[1]
    return words


def split_words(text: str) -> list[str]:
    """Runs of letters, digits and underscores (with one inner apostrophe), and single other characters."""
    return _WORD.findall(text)


def count_sentences(line: str) -> int:
    """Sentences in one line: closed ones and, if text is left after them, one more; at least one."""
    ends = [match.end() for match in _SENTENCE_END.finditer(line)]
    rest = line[ends[-1] :] if ends else line
    return max(1, len(ends) + bool(rest.strip()))
