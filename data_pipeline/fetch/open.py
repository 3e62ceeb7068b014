"""Opening and measuring input files, local or remote."""

from __future__ import annotations

import io
import os
from typing import IO, TYPE_CHECKING, cast

from data_pipeline.fetch.config import FetchConfig
from millbase.files import storage_error

if TYPE_CHECKING:
    from data_pipeline.fetch.http import HttpSource
    from data_pipeline.fetch.stored import StoredSource

_BUFFER = 1 << 16


def open_input(path: str, config: FetchConfig, patient: bool = True) -> IO[bytes]:
    """A seekable binary file of the bytes at `path` as they are stored.

    `patient=False` tells sooner that a host cannot be connected to. Raises InputError when the file cannot be had;
    later reads raise it too.
    """
    if not is_remote(path):
        try:
            return open(path, "rb")
        except OSError as error:
            raise storage_error(path, error) from None
    from data_pipeline.fetch.blocks import BlockFile

    blocks = BlockFile(_source(path, config, patient).open(), config.block_bytes)
    return cast(IO[bytes], io.BufferedReader(blocks, _BUFFER))


def input_size(path: str, config: FetchConfig, patient: bool = False) -> int | None:
    """Bytes of a file as stored; None when its server does not tell. Raises InputError when it cannot be had."""
    if not is_remote(path):
        try:
            return os.path.getsize(path)
        except OSError as error:
            raise storage_error(path, error) from None
    return _source(path, config, patient).measure()


def is_remote(path: str) -> bool:
    """Whether `path` is a URL other than `file://`."""
    return "://" in path


def is_http(path: str) -> bool:
    """Whether `path` is an http or https address."""
    return path.lower().startswith(("http://", "https://"))


def _source(path: str, config: FetchConfig, patient: bool) -> HttpSource | StoredSource:
    # imported when needed: the clients' libraries cost every worker of a local build a tenth of a second
    if is_http(path):
        from data_pipeline.fetch.http import HttpSource

        return HttpSource(path, config, patient)
    from data_pipeline.fetch.stored import StoredSource

    return StoredSource(path, config, patient)
