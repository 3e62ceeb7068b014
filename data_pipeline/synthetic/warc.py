"""WARC files (ISO 28500) with one gzip member per record, byte-identical for equal input."""

import io
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_pipeline.synthetic.pages.page import Page
from millbase.seeds import derive_seed

WARC_DATE = "2025-01-06T08:00:00Z"
"""Date of every record."""


def record_id(seed: int, *names: str | int) -> str:
    """A record id (a URN of a version-4 UUID) that the seed and `names` determine."""
    bits = derive_seed(seed, "warc", "high", *names) << 64 | derive_seed(seed, "warc", "low", *names)
    return uuid.UUID(int=bits & (1 << 128) - 1, version=4).urn


def write_warc(path: Path, pages: Iterable[Page], seed: int) -> Iterator[Page]:
    """Write `pages` to `path` as request and response records after a warcinfo record; yields each page written."""
    with path.open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        info = writer.create_warc_record(
            "", "warcinfo", payload=io.BytesIO(b"software: llmill synthetic web\r\nformat: WARC File Format 1.0\r\n"),
            warc_content_type="application/warc-fields",
            warc_headers_dict=_headers(seed, path.name, "warcinfo") | {"WARC-Filename": path.name},
        )  # fmt: skip
        writer.write_record(info)
        for i, page in enumerate(pages):
            _write_pair(writer, page, seed, f"{path.name}:{i}")
            yield page


def _write_pair(writer: WARCWriter, page: Page, seed: int, name: str) -> None:
    host, _, path = page.url.removeprefix("https://").partition("/")
    response_id = record_id(seed, name, "response")
    request = writer.create_warc_record(
        page.url, "request",
        http_headers=StatusAndHeaders(f"GET /{path} HTTP/1.1", [("Host", host)], is_http_request=True),
        warc_headers_dict=_headers(seed, name, "request") | {"WARC-Concurrent-To": f"<{response_id}>"},
    )  # fmt: skip
    writer.write_record(request)
    headers = [*page.headers, ("Content-Length", str(len(page.body)))]
    response = writer.create_warc_record(
        page.url, "response", payload=io.BytesIO(page.body), length=len(page.body),
        http_headers=StatusAndHeaders(page.status, headers, protocol="HTTP/1.1"),
        warc_headers_dict=_headers(seed, name, "response"),
    )  # fmt: skip
    writer.write_record(response)


def _headers(seed: int, *names: str) -> dict[str, str]:
    return {"WARC-Record-ID": f"<{record_id(seed, *names)}>", "WARC-Date": WARC_DATE}
