"""A small template grammar: the engine behind every text of the synthetic web.

A template is a string in which ``{name}`` is a slot and ``[a|b|c]`` a random choice; choices nest and may be empty
(``[very |]old``). ``a(n)`` becomes "a" or "an" by the letter that follows it. Templates are compiled once and cached.

    render(Random(0), "[The|Its] capital is {city}.", {"city": "Melk"})  ->  "Its capital is Melk."
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")

# A compiled template is a sequence of parts: a literal, a slot name or a tuple of alternatives.
Slot = tuple[str]
Part = str | Slot | list["Template"]
Template = tuple[Part, ...]

_ARTICLE = re.compile(r"\b([Aa])\(n\) (?=(\w))")


@lru_cache(maxsize=8192)
def compile_template(template: str) -> Template:
    """Parse `template` into parts.

    Raises:
        ValueError: brackets or braces that do not match (a defect of a grammar, never of a user).
    """
    parts, end = _parse(template, 0, "]")
    if end != len(template):
        raise ValueError(f"']' without '[' at {end} of template {template!r}")
    return parts


def _parse(template: str, start: int, stop: str) -> tuple[Template, int]:
    """Parse from `start` to the first character of `stop`; returns the parts and where they end."""
    parts: list[Part] = []
    literal_start = i = start
    while i < len(template) and template[i] not in stop:
        if template[i] not in "[{":
            i += 1
            continue
        if i > literal_start:
            parts.append(template[literal_start:i])
        if template[i] == "{":
            close = template.index("}", i)
            parts.append((template[i + 1 : close],))
            i = close + 1
        else:
            alternatives: list[Template] = []
            while i < len(template) and template[i] in "[|":
                alternative, i = _parse(template, i + 1, "]|")
                alternatives.append(alternative)
            if i >= len(template):
                raise ValueError(f"'[' without ']' in template {template!r}")
            parts.append(alternatives)
            i += 1
        literal_start = i
    if i > literal_start:
        parts.append(template[literal_start:i])
    return tuple(parts), i


def render(rng: Random, template: str, slots: Mapping[str, str] | None = None) -> str:
    """One random text of `template`. Raises KeyError when a slot has no value."""
    out: list[str] = []
    _render(rng, compile_template(template), slots or {}, out)
    text = "".join(out)
    if "  " in text:  # an empty alternative between two spaces
        text = text.replace("  ", " ")
    return fix_articles(text) if "(n)" in text else text


def _render(rng: Random, parts: Template, slots: Mapping[str, str], out: list[str]) -> None:
    for part in parts:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, tuple):
            out.append(slots[part[0]])
        else:
            # int(random() * n) draws three times faster than choice() and is as good for so few alternatives
            _render(rng, part[int(rng.random() * len(part))], slots, out)


def fix_articles(text: str) -> str:
    """Resolve every ``a(n)`` by the letter after it."""
    return _ARTICLE.sub(lambda m: m.group(1) + ("n " if m.group(2) in "aeiouAEIOU" else " "), text)


def sentence(rng: Random, template: str, slots: Mapping[str, str] | None = None) -> str:
    """`render` with a capital first letter and no blanks at the ends."""
    return capitalise(render(rng, template, slots).strip())


def capitalise(text: str) -> str:
    """`text` with its first letter in upper case and the rest untouched."""
    return text[:1].upper() + text[1:]


def pick(rng: Random, items: Sequence[T]) -> T:
    """A uniformly random item of a non-empty sequence."""
    return items[int(rng.random() * len(items))]


def join_words(words: Sequence[str], last: str = "and") -> str:
    """``["a", "b", "c"]`` -> ``"a, b and c"``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def shuffled(rng: Random, items: Sequence[T]) -> list[T]:
    """A shuffled copy."""
    copy = list(items)
    rng.shuffle(copy)
    return copy


class Deck(Generic[T]):
    """Deals items in random order and reshuffles only when all were dealt, so that repeats lie far apart."""

    def __init__(self, rng: Random, items: Sequence[T]) -> None:
        if not items:
            raise ValueError("a deck needs at least one item")
        self._rng = rng
        self._items = list(items)
        self._left: list[T] = []

    def draw(self) -> T:
        """The next item."""
        if not self._left:
            self._left = shuffled(self._rng, self._items)
        return self._left.pop()
