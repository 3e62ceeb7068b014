"""Bytes made to break the reader: bombs, huge pages, mutated files, and every odd file we have."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline.base import DropLog
from data_pipeline.read import InputFile, InputReader, ReadConfig, decode_html
from data_pipeline.read.http import HttpError, parse_http
from millbase.errors import InputError

SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4
MB = 1 << 20
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><p>after</p></html>"


def read(path: Path, **options: object) -> tuple[int, Counter[str]]:
    """Documents passed on and the reasons of the others; the counts must add up."""
    log = DropLog()
    reader = InputReader([InputFile(str(path), path.name, "s", "", **options)], ReadConfig(on_truncated="record"), log)
    kept = list(reader.run())
    assert len(kept) + len(log.rows) == reader.read
    for document in kept:
        if "html" in document.metadata:
            decode_html(document.metadata["html"], document.metadata["charset"])
    places = sorted((row["position"], row["warc_offset"]) for row in [*(d.metadata for d in kept), *log.rows])
    assert [place[0] for place in places] == list(range(reader.read))
    assert [place[1] for place in places] == sorted(place[1] for place in places)
    return len(kept), Counter(row["reason"] for row in log.rows)


def record(url: str, length: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{abs(hash(url))}>\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
    yield from pieces
    yield b"\r\n\r\n"


def pieces(head: bytes, size: int, fill: bytes) -> Iterator[bytes]:
    """`head`, then `fill` up to `size` bytes in all; nothing large is ever in memory."""
    yield head
    left = size - len(head)
    while left > 0:
        piece = (fill * (MB // len(fill)))[:left]
        yield piece
        left -= len(piece)


def huge(head: bytes, size: int, fill: bytes) -> Iterator[bytes]:
    return record("http://a.example/huge", size, pieces(head, size, fill))


def after() -> Iterator[bytes]:
    return record("http://a.example/after", len(PAGE), iter([PAGE]))


def packed(parts: Iterator[bytes], layers: int = 1) -> Iterator[bytes]:
    """One gzip member, compressed as often as told."""
    for _ in range(layers):
        parts = _gzip(parts)
    return parts


def _gzip(parts: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()


def body(size: int, encodings: str, layers: int) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: {encodings}\r\n\r\n".encode()
    return head + b"".join(packed(pieces(b"", size, b"\0"), layers))


def files(size: int) -> dict[str, Callable[[], Iterator[bytes]]]:
    """Hostile files by name; each holds one thing that is too large and, where the format allows, a page after it."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>"
    nested = body(size, "gzip, gzip, gzip", 3)

    def bomb() -> Iterator[bytes]:
        yield from packed(huge(page, size, b"\0"))
        yield from packed(after())

    def plain() -> Iterator[bytes]:
        yield from huge(page, size, b"one line without end ")
        yield from after()

    def encodings() -> Iterator[bytes]:
        for number, block in enumerate((nested, body(size, "gzip", 1), body(size, "deflate, gzip", 1))):
            yield from packed(record(f"http://a.example/{number}", len(block), iter([block])))
        yield from packed(after())

    def arc() -> Iterator[bytes]:
        yield b"filedesc://a 0.0.0.0 20080430204825 text/plain 3\nx\n\n"
        yield b"http://a.example/huge 192.0.2.1 20080430204825 text/html %d\n" % size
        yield from pieces(page, size, b"one line ")
        yield b"\nhttp://a.example/after 192.0.2.1 20080430204825 text/html %d\n" % len(PAGE) + PAGE + b"\n"

    def lines() -> Iterator[bytes]:
        yield from pieces(b'{"text": "', size, b"x")
        yield b'"}\n{"text": "after"}\n'

    return {
        "bomb.warc.gz": bomb,
        "line.warc": plain,
        "one.warc.gz": lambda: packed(plain()),
        "encodings.warc.gz": encodings,
        "line.arc": arc,
        "line.jsonl": lines,
        "line.jsonl.gz": lambda: packed(lines()),
        "line.txt": lambda: pieces(b"", size, b"one line "),
    }


MEASURE = """
import json, resource, sys
from pathlib import Path
from typing import Any
from data_pipeline.read import InputFile, InputReader, ReadConfig
from data_pipeline.base import DropLog
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
log, before = DropLog(), peak()
reader = InputReader([InputFile(sys.argv[1], "f", "s", "")], ReadConfig(), log)
kept = sum(1 for _ in reader.run())
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([kept, [row["reason"] for row in log.rows], peak() - before, usage.ru_utime + usage.ru_stime]))
"""


def measured(path: Path) -> tuple[int, list[str], int, float]:
    """Documents, reasons, bytes of memory beyond the imports, CPU seconds; in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run([sys.executable, "-c", MEASURE, str(path)], env=environment, capture_output=True, check=True)
    return tuple(json.loads(out.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("name", files(1))
def test_half_a_gigabyte_costs_neither_memory_nor_the_pages_after_it(tmp_path: Path, name: str) -> None:
    """A record's limit is 16 MiB; its text, its copies and what is inflated ahead may take a few of these."""
    path = tmp_path / name
    with open(path, "wb") as file:
        for part in files(500_000_000)[name]():
            file.write(part)
    kept, reasons, memory, seconds = measured(path)
    path.unlink()
    assert reasons == ["too_large"] * (3 if name == "encodings.warc.gz" else 1)
    assert kept == (0 if name == "line.txt" else 1)
    assert memory < 120 * MB, f"{memory / MB:.0f} MB"
    assert seconds < 60, f"{seconds:.1f} s of CPU"


@pytest.mark.parametrize("name", files(1))
def test_too_large_records_are_dropped_and_the_next_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"".join(files(20_000_000)[name]()))
    kept, reasons = read(tmp_path / name)
    assert kept == (0 if name == "line.txt" else 1)
    assert reasons == ({"too_large": 3 if name == "encodings.warc.gz" else 1})


def test_endless_nesting_of_encodings_is_cut_off() -> None:
    with pytest.raises(HttpError, match="6 content encodings"):
        parse_http(body(100, ", ".join(["gzip"] * 6), 6), 1000)
    assert parse_http(body(100, ", ".join(["gzip"] * 5), 5), 1000).body == bytes(100)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nA: b\r\n" * 2000, b"HTTP/1.1 " + b"2" * 5000 + b"\r\n\r\n", b"HTTP"]
)
def test_odd_http_headers(head: bytes) -> None:
    try:
        parse_http(head, 1000)
    except HttpError as error:
        assert error.reason == "bad_http"


def test_every_odd_file_gives_documents_or_one_clear_line(real_data: Path, tmp_path: Path) -> None:
    """All genuine and malformed archives, and archives and texts of other kinds, read as if they were crawls."""
    outcomes: Counter[str] = Counter()
    paths = [path for folder in ("real", "malformed") for path in (real_data / "warc" / folder).rglob("*")]
    for name in ("compressed_libarchive", "warc_knot", "gzip_iipc_webarchive-commons", "wpull_samples"):
        with tarfile.open(real_data / "nasty" / f"{name}.tar.gz") as archive:
            archive.extractall(tmp_path, **SAFELY)
    paths += tmp_path.rglob("*")
    for path in sorted(path for path in paths if path.is_file() and path.stat().st_size < 5 * MB):
        try:
            kept, reasons = read(path)
            outcomes["read"] += 1
            outcomes["kept"] += kept
            outcomes.update(reasons)
        except InputError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            outcomes["refused"] += 1
    assert outcomes["read"] >= 40 and outcomes["refused"] >= 40 and outcomes["kept"] >= 200, outcomes
    assert outcomes["revisit"] >= 15 and outcomes["redirect"] >= 15 and outcomes["not_html"] >= 50, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["text", "jsonl", "warc", "arc", "parquet", "arrow"])
def test_every_nasty_file_in_every_format(real_data: Path, tmp_path: Path, format_: str) -> None:
    """Crash tests, fuzz cases and conformance tests of browsers and parsers, in formats that they do not have."""
    for path in sorted((real_data / "nasty").glob("*.tar.gz")):
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path, **SAFELY)
    done = 0
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        try:
            read(path, format=format_)
            done += 1
        except InputError as error:
            assert "\n" not in str(error) and str(path) in str(error)
    assert done > 3000 if format_ == "text" else done >= 0


def seeds() -> dict[str, bytes]:
    """Small files of every kind to start the mutations from."""
    html = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><p>some text here</p></html>"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"
    squeezed = gzip.compress(b"<html>chunk</html>", mtime=0)
    chunked += b"%x\r\n" % len(squeezed) + squeezed + b"\r\n0\r\n\r\n"
    parts = [
        b"".join(record(f"http://a.example/{n}", len(block), iter([block])))
        for n, block in enumerate((html, chunked, html * 3, b"no http", html))
    ]
    line = b"http://a.example/%d 192.0.2.1 20080430204825 text/html %d\n"
    arc = [b"filedesc://a 0.0.0.0 20080430204825 text/plain 3\nx\n\n"]
    arc += [line % (n, len(html)) + html + b"\n" for n in range(4)]
    rows = b"".join(b'{"text": "row %d", "url": "http://a.example/%d"}\n' % (n, n) for n in range(6))
    return {
        "plain.warc": b"".join(parts),
        "members.warc.gz": b"".join(gzip.compress(part, mtime=0) for part in parts),
        "one.warc.gz": gzip.compress(b"".join(parts), mtime=0),
        "plain.arc": b"".join(arc),
        "members.arc.gz": b"".join(gzip.compress(part, mtime=0) for part in arc),
        "rows.jsonl": rows,
        "rows.jsonl.gz": gzip.compress(rows, mtime=0),
    }


SEEDS = seeds()
MUTATION = st.tuples(
    st.sampled_from(["set", "insert", "delete", "cut", "double", "swap"]),
    st.integers(0, 10_000),
    st.integers(1, 400),
    st.binary(min_size=1, max_size=40)
    | st.sampled_from([b"WARC/1.0\r\n", b"\x1f\x8b\x08", b"\r\n\r\n", b"99999999999", b"\0"]),
)


def mutate(data: bytes, mutations: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, place, length, new in mutations:
        at = place % (len(data) + 1)
        piece = data[at : at + length]
        changed = {"set": new, "insert": new + piece, "delete": b"", "double": piece * 2, "swap": piece[::-1]}
        data = (
            data[:at]
            if kind == "cut"
            else data[:at] + changed[kind] + data[at + len(new if kind == "set" else piece) :]
        )
    return data


def check_mutated(folder: Path, name: str, mutations: list[tuple[str, int, int, bytes]]) -> None:
    path = folder / name
    path.write_bytes(mutate(SEEDS[name], mutations))
    try:
        read(path)
    except InputError as error:
        assert "\n" not in str(error)


FUZZ = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=100, derandomize=True, **FUZZ)
@given(name=st.sampled_from(sorted(SEEDS)), mutations=st.lists(MUTATION, min_size=1, max_size=6))
def test_mutated_files(tmp_path_factory: pytest.TempPathFactory, name: str, mutations: list) -> None:
    """Never an exception that is not ours, and what is kept and dropped is all that was read."""
    check_mutated(tmp_path_factory.getbasetemp(), name, mutations)


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("LLMILL_FUZZ_EXAMPLES", "10000")), **FUZZ)
@given(name=st.sampled_from(sorted(SEEDS)), mutations=st.lists(MUTATION, min_size=1, max_size=8))
def test_many_mutated_files(tmp_path_factory: pytest.TempPathFactory, name: str, mutations: list) -> None:
    """The same with other mutations every time; `LLMILL_FUZZ_EXAMPLES` says how many."""
    check_mutated(tmp_path_factory.getbasetemp(), name, mutations)


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("LLMILL_FUZZ_EXAMPLES", "10000")), **FUZZ)
@given(data=st.binary(max_size=300), prefix=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))
def test_any_bytes_as_http_and_as_a_page(data: bytes, prefix: bytes) -> None:
    try:
        parse_http(prefix + data, 10_000)
    except HttpError as error:
        assert error.reason in ("bad_http", "too_large")
    assert isinstance(decode_html(data, "utf-8")[0], str)
