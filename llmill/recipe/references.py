"""``${...}`` in configurations: ``${stage}`` (its output directory), ``${input.NAME}``, ``${run}`` (the run directory).

A string that is one reference takes the referenced value as it is (an input may be a list or a number); inside a
longer string the value must be a scalar. A list item that refers to a list is spliced in. ``$${`` is a literal ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from millbase.errors import ConfigError

_REFERENCE = re.compile(r"(?<!\$)\$\{([^{}]*)\}")


def find_references(value: Any) -> Iterator[str]:
    """Every reference's name in a nested value, in order."""
    if isinstance(value, str):
        yield from (match.group(1).strip() for match in _REFERENCE.finditer(value))
    elif isinstance(value, dict):
        for item in value.values():
            yield from find_references(item)
    elif isinstance(value, list):
        for item in value:
            yield from find_references(item)


def substitute(value: Any, lookup: Callable[[str], Any]) -> Any:
    """``value`` with every reference replaced by ``lookup(name)``."""
    if isinstance(value, dict):
        return {key: substitute(item, lookup) for key, item in value.items()}
    if isinstance(value, list):
        items: list[Any] = []
        for item in value:
            filled = substitute(item, lookup)
            whole = isinstance(item, str) and _REFERENCE.fullmatch(item)
            items.extend(filled if whole and isinstance(filled, list) else [filled])
        return items
    return _substitute_text(value, lookup) if isinstance(value, str) else value


def _substitute_text(text: str, lookup: Callable[[str], Any]) -> Any:
    whole = _REFERENCE.fullmatch(text)
    if whole:
        return lookup(whole.group(1).strip())

    def fill(match: re.Match[str]) -> str:
        found = lookup(match.group(1).strip())
        if isinstance(found, (list, dict)):
            raise ConfigError(
                f"{text!r}: {match.group(0)} is a {type(found).__name__} and cannot stand inside a string"
            )
        return str(found)

    return _REFERENCE.sub(fill, text).replace("$${", "${")
