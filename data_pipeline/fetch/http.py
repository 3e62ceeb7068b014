"""Ranges of files on HTTP servers that may be busy, slow, or wrong, through httpx."""

from __future__ import annotations

import functools
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Self
from urllib.parse import urlsplit

import httpx

from data_pipeline.fetch.config import FetchConfig
from data_pipeline.fetch.limits import Limits
from data_pipeline.fetch.retry import TemporaryError, parse_retry_after, with_retries
from millbase.errors import InputError
from millbase.log import get_logger
from millbase.process import package_versions

logger = get_logger(__name__)

_ASKED = (403, 429, 503)
"""Statuses by which servers ask for fewer requests; CommonCrawl's uses all three."""
_TEMPORARY = (*_ASKED, 408, 425, 500, 502, 504, 520, 521, 522, 523, 524)
_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d{1,18})-(\d{1,18})|\*)/(?:(\d{1,18})|\*)", re.IGNORECASE)
_STALLED_BYTES_PER_SECOND = 1000
_PROGRESS_SHARE = 0.01
"""A transfer that breaks off before this share of what was asked counts as a failed attempt."""


class RangesIgnoredError(Exception):
    """The server sends the whole file whatever range is asked for."""


class HttpSource:
    """One file behind an http or https address. The first request tells its size and brings its first block.

    A server that knows no ranges has the whole file copied to an unnamed temporary file on disk. A file that changes
    between two requests (other ETag, date or size) is an error: no mixture of two versions is ever read.
    """

    def __init__(self, url: str, config: FetchConfig, patient: bool = True) -> None:
        self.url, self.config, self.patient = url, config, patient
        self.limits = Limits(urlsplit(url).netloc or "unknown", config)
        self.size = -1
        self._version: str | None = None
        self._copy: IO[bytes] | None = None
        self._first = b""

    def open(self) -> Self:
        """Ask for the first block. Raises InputError when the file cannot be had."""
        try:
            self._first = self._range(0, self.config.block_bytes)
        except RangesIgnoredError:
            logger.info("%s: the server knows no ranges; copying the file to the disk", self.url)
            self._copy = with_retries(self._download, self.url, self.config, self.limits, self.patient)
        return self

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` (exclusive)."""
        if self._copy is not None:
            self._copy.seek(start)
            return self._copy.read(stop - start)
        if start == 0 and stop == len(self._first):
            first, self._first = self._first, b""
            return first
        return self._range(start, stop)

    def measure(self) -> int | None:
        """Size in bytes by a request for one byte; None when the server does not tell."""

        def attempt() -> int | None:
            with self._response("bytes=0-0") as response:
                if response.status_code == 200:
                    length = response.headers.get("content-length", "")
                    return int(length) if length.isdigit() else None
                try:
                    self._check_range(response, None if response.status_code == 416 else 0)
                except RangesIgnoredError:
                    return None
                return self.size

        return with_retries(attempt, self.url, self.config, self.limits, self.patient)

    def close(self) -> None:
        if self._copy is not None:
            self._copy.close()

    def _range(self, start: int, stop: int) -> bytes:
        """As many requests as it takes, each from the byte the last one reached."""
        found = bytearray()

        def attempt() -> None:
            before = len(found)
            try:
                self._receive(found, start, stop)
            except TemporaryError:
                if len(found) - before < _PROGRESS_SHARE * (stop - start):
                    raise

        while (wanted := (stop if self.size < 0 else min(stop, self.size)) - start) > len(found):
            with_retries(attempt, self.url, self.config, self.limits, self.patient)
        return bytes(found[: max(wanted, 0)])

    def _receive(self, found: bytearray, start: int, stop: int) -> None:
        begin = start + len(found)
        with self._response(f"bytes={begin}-{stop - 1}") as response:
            if response.status_code == 200 and self.size < 0:
                raise RangesIgnoredError
            if response.status_code == 416:
                self._check_range(response, None)
                if begin < self.size:
                    raise TemporaryError(f"the server has no bytes from {begin} of {self.size}")
                return
            self._check_range(response, begin)
            for chunk in _chunks(response, self.config):
                found += chunk
                if len(found) >= stop - start:
                    del found[stop - start :]
                    return
        if len(found) < min(stop, self.size) - start:
            raise TemporaryError(f"the transfer broke off at byte {start + len(found)}")

    def _check_range(self, response: httpx.Response, begin: int | None) -> None:
        """Note or compare the file's size and version. Raises TemporaryError for another range than asked for."""
        told = response.headers.get("content-range", "none")
        match = _CONTENT_RANGE.match(told)
        if match is not None and match[3] is None and self.size < 0:
            raise RangesIgnoredError  # it knows ranges, but not how large the file is
        if match is None or match[3] is None or (begin is not None and match[1] != str(begin)):
            what = "the whole file" if response.status_code == 200 else f"Content-Range {told[:60]!r}"
            raise TemporaryError(f"asked for bytes from {begin or 0}, and the server sent {what}")
        size = int(match[3])
        version = response.headers.get("etag") or response.headers.get("last-modified")
        if response.status_code == 416:
            version = version or self._version  # few servers tell it with this status
        if self.size >= 0 and (size, version) != (self.size, self._version):
            raise InputError(
                f"{self.url!r} changed while it was read (size {self.size} to {size}, version {self._version} to "
                f"{version}); start the same command again when it is final"
            )
        self.size, self._version = size, version

    def _download(self) -> IO[bytes]:
        """The whole file in an unnamed file on disk."""
        copy = tempfile.TemporaryFile(prefix="llmill-")
        try:
            with self._response(None) as response:
                for chunk in _chunks(response, self.config):
                    copy.write(chunk)
            length = response.headers.get("content-length", "")
            if length.isdigit() and copy.tell() != int(length):
                raise TemporaryError(f"the transfer broke off at byte {copy.tell()} of {length}")
        except OSError as error:
            copy.close()
            raise InputError(
                f"{self.url!r} cannot be copied to {tempfile.gettempdir()!r}: {error}; make room or set TMPDIR"
            ) from None
        except BaseException:
            copy.close()
            raise
        self.size = copy.tell()
        return copy

    @contextmanager
    def _response(self, byte_range: str | None) -> Iterator[httpx.Response]:
        """The answer to a request, of status 200, 206 or 416. Raises TemporaryError or InputError for all others."""
        # the bytes as stored: a server must not compress, nor may the client decompress what is compressed already
        headers = {"Accept-Encoding": "identity"} | ({"Range": byte_range} if byte_range else {})
        try:
            with self.limits.request(), _client(self.config).stream("GET", self.url, headers=headers) as response:
                if response.status_code not in (200, 206, 416):
                    raise _refusal(self.url, response)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise TemporaryError(f"no connection: {error or type(error).__name__}", connect=True) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise InputError(f"{self.url!r} cannot be fetched: {error}; check the address") from None
        except httpx.TransportError as error:
            raise TemporaryError(f"the transfer failed: {error or type(error).__name__}") from None


def _chunks(response: httpx.Response, config: FetchConfig) -> Iterator[bytes]:
    """The body as sent. Raises TemporaryError where next to nothing comes for longer than the timeout."""
    started, received = time.monotonic(), 0
    for chunk in response.iter_raw():
        received += len(chunk)
        yield chunk
        elapsed = time.monotonic() - started
        if elapsed > config.timeout_seconds and received < _STALLED_BYTES_PER_SECOND * elapsed:
            raise TemporaryError(f"the transfer stalled: {received} bytes in {elapsed:.0f} s")


def _refusal(url: str, response: httpx.Response) -> Exception:
    status = response.status_code
    what = f"HTTP {status} {response.reason_phrase}".strip()
    if status in _TEMPORARY:
        wait = parse_retry_after(response.headers.get("retry-after"))
        return TemporaryError(what, wait, asked=status in _ASKED)
    if status in (404, 410):
        return InputError(f"{url!r} does not exist ({what}); check the address")
    if status == 401:
        return InputError(f"{url!r} needs a login ({what}); give an address that may be read without one")
    return InputError(f"{url!r} cannot be fetched ({what}); check the address")


@functools.cache
def _client(config: FetchConfig) -> httpx.Client:
    """One client for each process: connections are kept open between requests. Proxies come from the environment."""
    return httpx.Client(
        timeout=config.timeout_seconds,
        follow_redirects=True,
        headers={"User-Agent": f"llmill/{package_versions().get('llmill', '0')}"},
    )
