"""What the heuristics count over lines and white space, natively or in plain Python with the same results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from datatrove.utils.text import TERMINAL_PUNCTUATION

from data_pipeline.heuristics.tokenise import has_letter
from data_pipeline.native import kernels

_STOP_CHARACTERS = tuple(sorted(TERMINAL_PUNCTUATION))


class LineMarks(NamedTuple):
    """Over the lines of `str.splitlines`."""

    lines: int
    bullets: int
    """Lines that start with a bullet or hyphen."""
    ellipses: int
    """Lines that end in an ellipsis."""


class LineShape(NamedTuple):
    """Over the lines between newlines that are not blank."""

    lines: int
    terminal: int
    """Lines that end in a terminal mark (datatrove's list, of many scripts)."""
    short: int
    """Lines of at most the given number of characters."""
    duplicate_characters: int
    """Characters in lines that repeat an earlier one."""
    newlines: int
    """Newlines in the text."""


def line_marks(text: str) -> LineMarks:
    """Bullets and ellipses."""
    return LineMarks(*kernels.line_marks(text)) if kernels is not None else plain_line_marks(text)


def line_shape(text: str, short_characters: int) -> LineShape:
    """Ends, lengths and repetitions of lines."""
    if kernels is None:
        return plain_line_shape(text, short_characters)
    return LineShape(*kernels.line_shape(text, short_characters))


def white_space_words(text: str) -> tuple[int, int]:
    """(words between white space, those with a letter)."""
    if kernels is None:
        return plain_white_space_words(text)
    words, letters = kernels.white_space_words(text)
    return words, letters


def plain_line_marks(text: str) -> LineMarks:
    """`line_marks` in plain Python."""
    lines = text.splitlines()
    bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
    return LineMarks(len(lines), bullets, sum(line.rstrip().endswith(("...", "…")) for line in lines))


def plain_line_shape(text: str, short_characters: int) -> LineShape:
    """`line_shape` in plain Python."""
    lines = [line for line in text.split("\n") if line.strip()]
    return LineShape(
        len(lines),
        sum(line.endswith(_STOP_CHARACTERS) for line in lines),
        sum(len(line) <= short_characters for line in lines),
        duplicates(lines)[1],
        text.count("\n"),
    )


def plain_white_space_words(text: str) -> tuple[int, int]:
    """`white_space_words` in plain Python."""
    words = text.split()
    return len(words), sum(map(has_letter, words))


def duplicates(parts: Sequence[str]) -> tuple[int, int]:
    """Number of elements that repeat an earlier one, and the characters in them."""
    if len(set(parts)) == len(parts):
        return 0, 0
    seen: set[str] = set()
    elements = characters = 0
    for part in parts:
        if part in seen:
            elements += 1
            characters += len(part)
        seen.add(part)
    return elements, characters
