"""Which strings of a configuration are files: for checking that inputs exist and for digesting them.

Configurations hold paths as plain strings, so this is a rule of thumb, stated once: a string without white space
that contains ``/`` or ends in a suffix of a data file is *path-like*. A path-like string with a data suffix must
exist (as a file or a glob that matches) before a recipe starts; one without is only digested when it exists.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from millbase.errors import InputError

_DATA_SUFFIX = re.compile(
    r"\.(jsonl?|ya?ml|txt|csv|tsv|parquet|arrow|bin|ftz|warc|arc|safetensors|html?)(\.(gz|zst|xz|bz2|lz4))?$"
)
_GLOB = re.compile(r"[*?\[]")


def strings(value: Any) -> Iterator[str]:
    """Every string value (not key) of a nested JSON value."""
    return (text for text, _ in _strings(value))


def is_path_like(text: str) -> bool:
    """See the module's docstring."""
    return bool(text) and not re.search(r"\s", text) and ("/" in text or bool(_DATA_SUFFIX.search(text)))


def is_below(text: str, directories: Sequence[Path]) -> bool:
    """True when ``text`` is one of the directories or lies in one."""
    return any(text == str(item) or text.startswith(f"{item}/") for item in directories)


def expand(text: str) -> list[str]:
    """Existing local files or directories that a path or glob names, sorted."""
    if "://" in text:
        return []
    if _GLOB.search(text):
        return sorted(glob.glob(text, recursive=True))
    return [text] if Path(text).exists() else []


def check_exists(config: dict[str, Any], produced: Sequence[Path], where: str) -> None:
    """InputError when what is surely a local path, not made by the run itself, does not exist."""
    for text, named in _strings(config):
        external = is_path_like(text) and "/" in text and not is_below(text, produced) and "://" not in text
        sure = named or _DATA_SUFFIX.search(text)
        if external and sure and not _is_pattern(text) and not expand(text):
            start = "relative paths start at the working directory"
            raise InputError(f"{where}: nothing matches {text!r}; check the path ({start})")


def _strings(value: Any, named: bool = False) -> Iterator[tuple[str, bool]]:
    """Strings, and whether a key above them says that they are paths."""
    if isinstance(value, str):
        yield value, named
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, named or key == "path" or key.endswith("_path"))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, named)


def _is_pattern(text: str) -> bool:
    """Regular expressions and templates may hold slashes and dots; files do not hold these characters."""
    return bool(re.search(r"[\\^$|(){}<>]", text))
