"""Parsing of the HTTP response inside a WARC record: status, headers, and the body without transfer encodings."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass

from fastwarc.stream_io import BrotliReader, ZstdReader

_MAX_ENCODINGS = 5
"""Content encodings one in another; curl stops at as many. A body can be made that decompresses to itself for ever."""


class HttpError(ValueError):
    """A block that is no HTTP response, or a body that cannot be decoded; `reason` goes into the dropped table."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class HttpResponse:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    """Lower-cased names; the first of repeated headers."""
    body: bytes
    """After chunked and content decoding."""

    @property
    def media_type(self) -> str:
        """`text/html` of `text/html; charset=utf-8`, lower-cased; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The charset parameter of Content-Type."""
        for parameter in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                return value.strip(" \t\"'") or None
        return None


def parse_http(block: bytes, max_bytes: int) -> HttpResponse:
    """Parse an HTTP response; bodies that decode to more than `max_bytes` raise HttpError `too_large`."""
    head, separator, body = block.partition(b"\r\n\r\n")
    if not separator or (b"\n\n" in head):
        head, separator, body = block.partition(b"\n\n")
    lines = head.replace(b"\r\n", b"\n").split(b"\n")
    status_line = lines[0].split(None, 2)
    if not status_line or not status_line[0].startswith(b"HTTP/") or len(status_line) < 2:
        raise HttpError("bad_http", f"no HTTP status line: {lines[0][:60]!r}")
    if not status_line[1].isdigit() or len(status_line[1]) > 9:
        raise HttpError("bad_http", f"HTTP status {status_line[1][:20]!r} is no number")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            headers.setdefault(name.decode("latin-1").strip().lower(), value.decode("latin-1").strip())
    return HttpResponse(int(status_line[1]), headers, _decode_body(body, headers, max_bytes))


def _decode_body(body: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = unchunk(body)
    told = headers.get("content-encoding", "").lower().replace(" ", "").split(",")
    encodings = [encoding for encoding in told if encoding not in ("", "identity")]
    if len(encodings) > _MAX_ENCODINGS:
        raise HttpError("bad_http", f"{len(encodings)} content encodings, one in another")
    for encoding in reversed(encodings):
        body = _decompress(body, encoding, max_bytes)
    return body


def unchunk(body: bytes) -> bytes:
    """Undo chunked transfer encoding. A body that is not chunked after all (crawlers keep the header of bodies that
    they stored decoded) comes back as it is; one that breaks off keeps the whole chunks before the break."""
    chunks: list[bytes] = []
    position = 0
    while position < len(body):
        line_end = body.find(b"\n", position, position + 80)
        size_text = body[position : line_end if line_end >= 0 else position].partition(b";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError:
            return b"".join(chunks) if chunks else body
        if size <= 0:
            break
        chunks.append(body[line_end + 1 : line_end + 1 + size])
        position = line_end + 1 + size
        position += (
            2 if body[position : position + 2] == b"\r\n" else 1 if body[position : position + 1] == b"\n" else 0
        )
    return b"".join(chunks)


def _decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    try:
        if encoding in ("gzip", "x-gzip"):
            return _inflate(body, 31, max_bytes) if body[:2] == b"\x1f\x8b" else body
        if encoding == "deflate":
            # "deflate" means zlib by the standard and raw deflate by habit.
            zlib_header = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
            return _inflate(body, 15 if zlib_header else -15, max_bytes)
        if encoding == "br":
            return body if body.lstrip()[:1] == b"<" else _read_bounded(BrotliReader(io.BytesIO(body)), max_bytes)
        if encoding == "zstd":
            return _read_bounded(ZstdReader(io.BytesIO(body)), max_bytes) if body[:4] == b"\x28\xb5\x2f\xfd" else body
    except (zlib.error, OSError, EOFError) as error:
        raise HttpError("bad_http", f"body is not valid {encoding}: {error}") from None
    raise HttpError("bad_http", f"unknown Content-Encoding {encoding[:30]!r}")


def _inflate(body: bytes, window: int, max_bytes: int) -> bytes:
    out = zlib.decompressobj(window).decompress(body, max_bytes + 1)
    return _bounded(out, max_bytes)


def _read_bounded(reader: BrotliReader | ZstdReader, max_bytes: int) -> bytes:
    return _bounded(reader.read(max_bytes + 1), max_bytes)


def _bounded(out: bytes, max_bytes: int) -> bytes:
    if len(out) > max_bytes:
        raise HttpError("too_large", f"body decompresses to more than {max_bytes} bytes")
    return out
