"""Values as text between the tested program and its test: plain data by value, everything else by reference.

The side of the test builds only built-in and standard types from what it reads, with its own code: whatever a program
does to its own `__eq__`, `assert` or `sys.exit`, the test compares ordinary lists and numbers.
"""

from __future__ import annotations

import datetime
import importlib
import json
import sys
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any

_EXACT = 2**53
"""Larger integers travel in hexadecimal, which takes linear time to read."""

_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}
_TEXTS: dict[str, Any] = {"decimal": Decimal, "fraction": Fraction}
_DATES: dict[str, Any] = {"datetime": datetime.datetime, "date": datetime.date, "time": datetime.time}

Refer = Callable[[Any], list[Any]]
"""Object -> `["own", number]` or `["theirs", number]`."""
Resolve = Callable[[str, int], Any]


class WireError(Exception):
    """What came over the wire is not a value."""


def encode(value: Any, refer: Refer) -> Any:
    """A value as JSON data; subclasses of built-in types lose what they added."""
    if value is None or isinstance(value, (bool, float)):
        return float(value) if isinstance(value, float) else value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int(value)
        return number if -_EXACT < number < _EXACT else ["int", hex(number)]
    for name, kind in _SEQUENCES.items():
        if isinstance(value, kind):
            return [name, *(encode(item, refer) for item in kind.__iter__(value))]
    if isinstance(value, dict):
        return ["dict", *([encode(k, refer), encode(v, refer)] for k, v in dict.items(value))]
    return _encode_rare(value, refer)


def _encode_rare(value: Any, refer: Refer) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return ["bytes" if isinstance(value, bytes) else "bytearray", bytes(value).hex()]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, range):
        return ["range", *(encode(part, refer) for part in (value.start, value.stop, value.step))]
    if isinstance(value, datetime.timedelta):
        return ["timedelta", value.days, value.seconds, value.microseconds]
    for name, kind in _TEXTS.items():
        if isinstance(value, kind):
            return [name, kind.__str__(value)]
    for name, kind in _DATES.items():
        if isinstance(value, kind):
            return [name, kind.isoformat(value)]
    if isinstance(value, ModuleType) and value.__name__.partition(".")[0] in sys.stdlib_module_names:
        return ["module", value.__name__]
    return refer(value)


def decode(data: Any, resolve: Resolve) -> Any:
    """The value of JSON data. WireError when it is not one."""
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        raise WireError("not a value")
    name, *parts = data
    try:
        if name in _SEQUENCES:
            return _SEQUENCES[name](decode(part, resolve) for part in parts)
        if name == "dict":
            return {decode(key, resolve): decode(value, resolve) for key, value in parts}
        if name in ("own", "theirs"):
            return resolve(name, int(parts[0]))
        return _decode_rare(name, parts, resolve)
    except (TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise WireError(f"not a {name}: {error}") from None


def _decode_rare(name: str, parts: list[Any], resolve: Resolve) -> Any:
    if name == "int":
        return int(parts[0], 16)
    if name in ("bytes", "bytearray"):
        content = bytes.fromhex(parts[0])
        return content if name == "bytes" else bytearray(content)
    if name == "complex":
        return complex(*parts)
    if name == "range":
        return range(*(decode(part, resolve) for part in parts))
    if name == "timedelta":
        return datetime.timedelta(*parts)
    if name in _TEXTS:
        return _TEXTS[name](str(parts[0]))
    if name in _DATES:
        return _DATES[name].fromisoformat(parts[0])
    if name == "module" and str(parts[0]).partition(".")[0] in sys.stdlib_module_names:
        return importlib.import_module(parts[0])
    raise WireError(f"unknown kind {name!r}")


def dump(message: Any) -> bytes:
    """A message as bytes."""
    return json.dumps(message, separators=(",", ":")).encode()


def load(data: bytes) -> Any:
    """Undo `dump`. WireError when it is not JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a message: {error}") from None
