"""Which reader a file gets, and WARC files in every compression and of every kind of record."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard
from warcio.archiveiterator import ArchiveIterator

from data_pipeline.base import DropLog
from data_pipeline.extract import ExtractConfig, Extractor
from data_pipeline.read import InputFile, InputReader, ReadConfig, open_records
from data_pipeline.read.formats import detect_format
from data_pipeline.read.http import HttpError, parse_http
from data_pipeline.read.items import Record

WARC = b"WARC/1.0\r\n"


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.warc.gz", gzip.compress(WARC, mtime=0), "warc"),
        ("a.warc.wet.gz", gzip.compress(WARC, mtime=0), "warc"),
        ("a.txt", WARC, "warc"),
        ("a.data", b"filedesc://x", "arc"),
        ("a.arc.gz", gzip.compress(b"filedesc://x", mtime=0), "arc"),
        ("a.bin", b"PAR1....", "parquet"),
        ("a", b"ARROW1\0\0", "arrow"),
        ("a.jsonl", b'{"text": 1}', "jsonl"),
        ("a.ndjson.zst", zstandard.compress(b"{}"), "jsonl"),
        ("A.JSON.GZ", gzip.compress(b"{}", mtime=0), "jsonl"),
        ("a.txt.xz", b"", "text"),
        ("a.md", b"# Title", "text"),
        ("a.unknown", b"whatever", "warc"),
    ],
)
def test_formats_are_told_from_first_bytes_and_names(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert detect_format(str(tmp_path / name), ReadConfig()) == expected


@pytest.mark.parametrize("compress", [zstandard.compress, gzip.compress], ids=["zstd", "gzip"])
@pytest.mark.parametrize("by_record", [True, False])
def test_warc_files_in_other_compressions(
    warc, tmp_path: Path, compress: Callable[[bytes], bytes], by_record: bool
) -> None:
    plain = warc.prose(6).write(tmp_path / "a.warc", gzip=False)
    whole = list(open_records(InputFile(str(plain), "a", "s", ""), ReadConfig()).records())
    data = plain.read_bytes()
    with open(plain, "rb") as file:
        iterator = ArchiveIterator(file, no_record_parse=True)
        starts = [iterator.get_record_offset() for record in iterator if record.raw_stream.read() is not None]
    pieces = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)])] if by_record else [data]
    (tmp_path / "b").write_bytes(b"".join(map(compress, pieces)))
    found = list(open_records(InputFile(str(tmp_path / "b"), "b", "s", ""), ReadConfig()).records())
    assert [(r.url, r.record_id, r.block) for r in found] == [(r.url, r.record_id, r.block) for r in whole]


def test_genuine_lz4_and_gzip_of_one_crawl_agree(real_data: Path) -> None:
    folder = real_data / "warc" / "real" / "chatnoir-eu_chatnoir-resiliparse"
    urls = []
    for path in (*folder.glob("*warcfile.warc.lz4"), folder / "tests__data__warcfile.warc.gz"):
        items = open_records(InputFile(str(path), "a", "s", ""), ReadConfig()).records()
        urls.append([(item.url, item.block) for item in items if isinstance(item, Record)])
    assert len(urls) == 2 and urls[0] == urls[1] and len(urls[0]) > 10


def test_genuine_wet_files_are_texts_that_skip_extraction(real_data: Path) -> None:
    path = real_data / "warc" / "real" / "commoncrawl_whirlwind-python" / "whirlwind.warc.wet"
    with open(path, "rb") as file:
        records = [r for r in ArchiveIterator(file) if r.rec_type == "conversion"]
        file.seek(0)
        expected = [
            (r.rec_headers["WARC-Target-URI"], r.content_stream().read().decode())
            for r in ArchiveIterator(file)
            if r.rec_type == "conversion"
        ]
    assert records and expected
    log = DropLog()
    reader = InputReader([InputFile(str(path), "w", "s", "")], ReadConfig(), log)
    documents = list(Extractor(ExtractConfig(), log).run(reader.run()))
    assert [(d.metadata["url"], d.text) for d in documents] == expected and not log.rows
    assert documents[0].metadata["date"] == records[0].rec_headers["WARC-Date"]


def test_other_kinds_of_conversions_are_dropped(tmp_path: Path) -> None:
    def conversion(kind: str, body: bytes) -> bytes:
        head = f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a.example/\r\nContent-Type: {kind}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n\r\n"

    data = conversion("text/plain; charset=utf-8", b"words") + conversion("image/png", b"\x89PNG")
    (tmp_path / "a.warc").write_bytes(data + conversion("text/plain", b"  \n") + conversion("text/plain", b"x" * 2000))
    log = DropLog()
    reader = InputReader([InputFile(str(tmp_path / "a.warc"), "a", "s", "")], ReadConfig(max_record_bytes=1000), log)
    assert [d.text for d in reader.run()] == ["words"]
    assert [row["reason"] for row in log.rows] == ["not_html", "empty_body", "too_large"]


@pytest.mark.parametrize(("encoding", "compress"), [("br", brotli.compress), ("zstd", zstandard.compress)])
def test_bodies_in_newer_content_encodings(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: {encoding}\r\n\r\n".encode()
    page = b"<html><p>text " * 500
    assert parse_http(head + compress(page), 1 << 20).body == page
    with pytest.raises(HttpError) as caught:
        parse_http(head + compress(bytes(30_000_000)), 1 << 20)
    assert caught.value.reason == "too_large"
    try:  # of a body that breaks off, what there is may be kept
        assert page.startswith(parse_http(head + compress(page)[:30], 1 << 20).body)
    except HttpError as error:
        assert error.reason == "bad_http"
