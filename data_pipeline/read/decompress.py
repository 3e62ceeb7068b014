"""Streams of uncompressed bytes, by what a file begins with rather than by its name."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from typing import IO, cast

import pyarrow as pa

from data_pipeline.read.members import Gunzip

_XZ_MEMORY = 128 << 20

STREAM_ERRORS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
"""What reading a damaged or cut-off stream raises (Arrow's errors are OSError and ValueError)."""


def decompressed(file: IO[bytes]) -> IO[bytes]:
    """The bytes inside `file`, which stands at its beginning: gzip, zstd, lz4 (frames), bzip2, xz, or as they are.

    Reading raises one of `STREAM_ERRORS` where the file is damaged or ends early.
    """
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(Gunzip(file))
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return _arrow(file, "zstd")
    if magic.startswith(b"\x04\x22\x4d\x18"):
        return _arrow(file, "lz4")
    if magic.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(file))
    if magic.startswith(b"\xfd7zXZ\x00"):
        return cast(IO[bytes], lzma.LZMAFile(file, format=lzma.FORMAT_XZ))
    return file


def _arrow(file: IO[bytes], codec: str) -> IO[bytes]:
    """Arrow's decompressor reads frames one after another and tells where a stream is cut off."""
    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec))


def was_cut(error: Exception) -> bool:
    """Whether a stream's error means that it ends early, rather than that bytes in it are wrong."""
    return isinstance(error, EOFError) or "truncated" in str(error).lower() or "unexpected end" in str(error).lower()
