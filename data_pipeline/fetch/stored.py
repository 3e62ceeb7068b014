"""Ranges of files in object stores (`s3://` and whatever else fsspec knows)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import fsspec
from fsspec.caching import BaseCache
from fsspec.spec import AbstractBufferedFile

from data_pipeline.fetch.config import FetchConfig
from data_pipeline.fetch.limits import Limits
from data_pipeline.fetch.retry import TemporaryError, with_retries
from millbase.errors import InputError, UserError
from millbase.files import storage_error

_FINAL = ("NoCredentials", "PartialCredentials", "ProfileNotFound", "ParamValidation", "InvalidToken")
"""Names of client errors that no repetition mends."""

T = TypeVar("T")


class StoredSource:
    """One file in an object store. Its library reopens connections and repeats throttled requests itself; what still
    fails is repeated here."""

    def __init__(self, url: str, config: FetchConfig, patient: bool = True) -> None:
        self.url, self.config, self.patient = url, config, patient
        parts = urlsplit(url)
        self.limits = Limits(f"{parts.scheme}-{parts.netloc}", config)
        self.size = -1
        self._file: Any = None

    def open(self) -> Self:
        """Look the file up. Raises InputError when it cannot be had."""

        def attempt() -> Any:
            with self.limits.request():
                file = fsspec.open(self.url, "rb").open()
            if isinstance(file, AbstractBufferedFile):  # blocks are kept by BlockFile; two caches would read more
                file.cache = BaseCache(file.blocksize, file._fetch_range, file.size)
            return file

        self._file = self._safely(attempt)
        self.size = self._file.seek(0, 2)
        return self

    def measure(self) -> int | None:
        """Size in bytes; None when the store does not tell."""

        def attempt() -> int | None:
            filesystem, path = fsspec.core.url_to_fs(self.url)
            with self.limits.request():
                size = filesystem.info(path).get("size")
            return None if size is None else int(size)

        return self._safely(attempt)

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` (exclusive)."""

        def attempt() -> bytes:
            with self.limits.request():
                self._file.seek(start)
                data: bytes = self._file.read(stop - start)
            if len(data) < stop - start:
                raise TemporaryError(f"the transfer broke off at byte {start + len(data)}")
            return data

        return self._safely(attempt)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _safely(self, attempt: Callable[[], T]) -> T:
        def translated() -> T:
            try:
                return attempt()
            except (UserError, TemporaryError):
                raise
            except Exception as error:  # each store's client has errors of its own
                if type(error).__name__ == "FileExpired":
                    raise InputError(
                        f"{self.url!r} changed while it was read; start the same command again when it is final"
                    ) from None
                if _may_pass(error):
                    connect = "connect" in f"{type(error).__name__} {error}".lower()
                    raise TemporaryError(f"{type(error).__name__}: {error}", connect=connect) from None
                raise storage_error(self.url, error) from None

        return with_retries(translated, self.url, self.config, self.limits, self.patient)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, ImportError, ValueError)):
        return False
    return not any(name in type(error).__name__ for name in _FINAL)
