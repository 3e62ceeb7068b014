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
        try:
            filesystem, path = fsspec.core.url_to_fs(pattern)
            matches = _matches(filesystem, path)
        except Exception as error:  # each store's client has errors of its own
            raise storage_error(pattern, error) from None
        if not matches:
            raise InputError(
                f"{what}: nothing matches {pattern!r}; check the path (relative paths start at the working directory"
                + ("; a list is written [a,b])" if "," in pattern else ")")
            )
        local = "file" in filesystem.protocol
        found.update(match if local else filesystem.unstrip_protocol(match) for match in matches)
    return sorted(found)


def _matches(filesystem: Any, path: str) -> list[str]:
    if any(character in path for character in "*?["):
        return [match for match in filesystem.glob(path) if not filesystem.isdir(match)]
    if "file" in filesystem.protocol:
        return [path] if filesystem.isfile(path) else []
    try:  # `isfile` says no to an unreachable store as well
        return [path] if filesystem.info(path)["type"] == "file" else []
    except FileNotFoundError:
        return []


_STORE_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def storage_error(path: str, error: Exception) -> InputError:
    """What to tell the user when a file or store could not be reached: the address, the cause, the fix."""
    scheme = path.split("://", 1)[0] if "://" in path else ""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    kind = type(error).__name__
    if isinstance(error, ImportError) or "Protocol not known" in text:
        package = _STORE_PACKAGES.get(scheme)
        fix = f"pip install {package}" if package else "check the address, or install the fsspec package that knows it"
        if package == "s3fs":
            fix = "pip install 'llmill[s3]'"
        return InputError(f"{path!r} cannot be opened: no package for {scheme}:// is installed; {fix}")
    if "Credentials" in kind or "Unable to locate credentials" in text or "ProfileNotFound" in kind:
        return InputError(
            f"{path!r} needs credentials and none were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or "
            "AWS_PROFILE), or for public buckets FSSPEC_S3='{\"anon\": true}'"
        )
    if isinstance(error, FileNotFoundError) or "NoSuchBucket" in text:
        return InputError(f"{path!r} does not exist; check the path")
    if isinstance(error, PermissionError):
        return InputError(f"{path!r} may not be read ({text}); check its permissions or the credentials")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path!r} is a directory, expected a file; give its files, such as {path.rstrip('/')}/*")
    if scheme:
        return InputError(
            f"{path!r} cannot be reached ({kind}: {text}); check the address, the endpoint and the network"
        )
    return InputError(f"{path!r} cannot be read ({text}); check the path and the disk")


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
