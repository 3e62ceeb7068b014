"""Paths that may be local, ``s3://``, ``hf://`` or ``https://`` (fsspec), compressed or not."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from typing import IO, Any

import fsspec

from millbase.errors import InputError


def glob_files(patterns: str | Sequence[str], what: str = "input files") -> list[str]:
    """Expand one or more paths or globs into a sorted list without repeats.

    Raises InputError, naming the pattern, when a pattern matches nothing.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    if not patterns:
        raise InputError(f"no {what} given: expected at least one path or glob")
    found: set[str] = set()
    for pattern in patterns:
        filesystem, path = fsspec.core.url_to_fs(pattern)
        if any(character in path for character in "*?["):
            matches = [match for match in filesystem.glob(path) if not filesystem.isdir(match)]
        else:
            matches = [path] if filesystem.isfile(path) else []
        if not matches:
            raise InputError(
                f"{what}: nothing matches {pattern!r}; check the path (relative paths start at the working directory)"
            )
        local = "file" in filesystem.protocol
        found.update(match if local else filesystem.unstrip_protocol(match) for match in matches)
    return sorted(found)


def open_file(path: str, mode: str = "rt") -> IO[Any]:
    """Open for reading, decompressing ``.gz`` and ``.zst`` by name. Text is UTF-8.

    Raises InputError when the file does not exist.
    """
    if mode not in ("rt", "rb"):
        raise ValueError(f"open_file reads: mode 'rt' or 'rb', not {mode!r}")
    encoding = {"encoding": "utf-8"} if mode == "rt" else {}
    try:
        if str(path).endswith(".gz") and "://" not in str(path):
            return gzip.open(path, mode, **encoding)  # type: ignore[call-overload, no-any-return]
        if str(path).endswith(".zst"):
            return _open_zstd(str(path), mode)
        return fsspec.open(path, mode, compression="infer", **encoding).open()  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise InputError(f"file {str(path)!r} does not exist; check the path") from None


def _open_zstd(path: str, mode: str) -> IO[Any]:
    """Through Arrow's decompressor: it reads frames one after another and raises OSError where a stream is cut off."""
    import pyarrow as pa

    raw = pa.PythonFile(fsspec.open(path, "rb").open(), mode="r")
    stream = io.BufferedReader(pa.CompressedInputStream(raw, "zstd"))
    return stream if mode == "rb" else io.TextIOWrapper(stream, encoding="utf-8")
