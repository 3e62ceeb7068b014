"""HTTP blocks as crawlers store them, and pages of which nothing is told."""

import gzip
import zlib

import pytest

from data_pipeline.read.http import HttpError, parse_http, unchunk
from data_pipeline.read.step import document_id, judge_response

LIMIT = 100_000


def block(headers: str, body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}\r\n\r\n".encode() + body


def test_status_type_charset_and_body() -> None:
    response = parse_http(block('Content-Type: Text/HTML; a=b; Charset="ISO-8859-2"\r\nX: y', b"<p>hi"), LIMIT)
    assert (response.status, response.media_type, response.charset) == (200, "text/html", "ISO-8859-2")
    assert response.body == b"<p>hi" and response.headers["x"] == "y"


def test_line_feeds_alone_end_headers_too() -> None:
    response = parse_http(b"HTTP/1.0 200 OK\nContent-Type: text/html\n\n<p>a\r\n\r\nb", LIMIT)
    assert response.media_type == "text/html" and response.body == b"<p>a\r\n\r\nb"


CHUNKED = b"4\r\nWiki\r\n6;x=y\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n\r\n"


def test_chunks() -> None:
    assert unchunk(CHUNKED) == b"Wikipedia in \r\n\r\nchunks."
    assert unchunk(CHUNKED[:20]) == b"Wikipedia "[: len(unchunk(CHUNKED[:20]))]
    assert unchunk(b"<html>never was chunked</html>") == b"<html>never was chunked</html>"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"<p>text", mtime=0)),
        ("gzip", b"<p>text"),  # crawlers decode bodies and keep the header
        ("deflate", zlib.compress(b"<p>text")),
        ("deflate", zlib.compress(b"<p>text")[2:-4]),
        ("br", b"<p>text"),
        ("identity", b"<p>text"),
    ],
)
def test_content_encodings(encoding: str, body: bytes) -> None:
    assert parse_http(block(f"Content-Encoding: {encoding}", body), LIMIT).body == b"<p>text"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no http at all", "bad_http"),
        (b"HTTP/1.1 abc\r\n\r\n", "bad_http"),
        (b"", "bad_http"),
        (block("Content-Encoding: gzip", b"\x1f\x8b broken"), "bad_http"),
        (block("Content-Encoding: rot13", b"x"), "bad_http"),
        (block("Content-Encoding: gzip", gzip.compress(bytes(10_000_000), mtime=0)), "too_large"),
    ],
)
def test_what_cannot_be_decoded_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(HttpError) as caught:
        parse_http(data, LIMIT)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("headers", "body", "status", "reason"),
    [
        ("Content-Type: text/html", b"<p>x", "200 OK", None),
        ("Content-Type: application/xhtml+xml", b"<p>x", "203 Fine", None),
        ("X: y", b"\xef\xbb\xbf <!DOCTYPE HTML><p>x", "200 OK", None),
        ("X: y", b"plain words", "200 OK", "not_html"),
        ("Content-Type: image/png", b"\x89PNG", "200 OK", "not_html"),
        ("Content-Type: text/html", b"%PDF-1.7", "200 OK", "pdf"),
        ("Content-Type: text/html", b" \r\n ", "200 OK", "empty_body"),
        ("Location: /x", b"", "302 Found", "redirect"),
        ("Content-Type: text/html", b"<p>x", "503 No", "http_status"),
    ],
)
def test_only_successful_html_passes(headers: str, body: bytes, status: str, reason: str | None) -> None:
    drop = judge_response(parse_http(block(headers, body, status), LIMIT))
    assert (drop.reason if drop else None) == reason


def test_ids_come_from_the_record_or_its_place() -> None:
    assert document_id("<urn:uuid:ABC-1>", "f", 1, 0) == "abc-1"
    assert document_id(None, "f", 1, 0) == document_id(None, "f", 1, 0) != document_id(None, "f", 2, 0)
