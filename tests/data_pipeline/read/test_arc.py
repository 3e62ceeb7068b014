"""ARC files, compared with warcio's reading of them, and damaged in every way that a crawler's disk does."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from data_pipeline.read.arc import ArcFile
from data_pipeline.read.items import Damage, Record

LIMIT = 1 << 20


def read(path: Path, limit: int = LIMIT) -> list[Record | Damage]:
    return list(ArcFile(str(path), limit).records())


def record(url: str, body: bytes, kind: str = "text/html") -> bytes:
    return f"{url} 192.0.2.1 20080430204825 {kind} {len(body)}\n".encode() + body + b"\n"


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>page %d " + b"x" * 300
FIRST = record("filedesc://a.arc", b"1 0 Test\nURL IP-address Archive-date Content-type Archive-length\n", "text/plain")
PARTS = [FIRST, *(record(f"http://a.example/{n}", PAGE % n) for n in range(5))]


def write(path: Path, parts: list[bytes], how: str) -> list[int]:
    """Write the file; offset of each part, as stored (in the uncompressed stream for `one`)."""
    stored = [gzip.compress(part, mtime=0) if how == "members" else part for part in parts]
    data = b"".join(stored)
    path.write_bytes(gzip.compress(data, mtime=0) if how == "one" else data)
    return [sum(map(len, stored[:n])) for n in range(len(stored))]


@pytest.mark.parametrize("how", ["plain", "members", "one"])
def test_records_and_their_places(tmp_path: Path, how: str) -> None:
    offsets = write(tmp_path / "a.arc", PARTS, how)
    records = read(tmp_path / "a.arc")
    assert [r.url for r in records] == [f"http://a.example/{n}" for n in range(5)]
    assert [r.block for r in records] == [PAGE % n for n in range(5)]
    assert [r.offset for r in records] == offsets[1:]
    assert {r.date for r in records} == {"2008-04-30T20:48:25Z"} and {r.kind for r in records} == {"response"}


def test_addresses_with_spaces_and_version_two(tmp_path: Path) -> None:
    body = PAGE % 1
    second = f"http://b.example/ 192.0.2.1 20080430204825 text/html 200 ABC - 77 a.arc {len(body)}\n".encode() + body
    write(tmp_path / "a.arc", [FIRST, record("http://a.example/a b c", body), second], "plain")
    assert [r.url for r in read(tmp_path / "a.arc")] == ["http://a.example/a b c", "http://b.example/"]


@pytest.mark.parametrize("how", ["plain", "members"])
def test_reading_goes_on_after_damage(tmp_path: Path, how: str) -> None:
    offsets = write(tmp_path / "a.arc", PARTS, how)
    whole = read(tmp_path / "a.arc")
    data = bytearray((tmp_path / "a.arc").read_bytes())
    data[offsets[3] : offsets[3] + 30] = b"#" * 30
    (tmp_path / "a.arc").write_bytes(data)
    found = read(tmp_path / "a.arc")
    assert [item for item in found if isinstance(item, Record)] == whole[:2] + whole[3:]
    damages = [(item.offset, item.offset + item.length, item.reason) for item in found if isinstance(item, Damage)]
    assert damages == [(offsets[3], offsets[4], "damaged")]


@pytest.mark.parametrize("how", ["plain", "members", "one"])
@pytest.mark.parametrize("missing", [40, 380])
def test_a_file_that_ends_early(tmp_path: Path, how: str, missing: int) -> None:
    write(tmp_path / "a.arc", PARTS, "plain" if how == "one" else how)
    whole = read(tmp_path / "a.arc")
    data = (tmp_path / "a.arc").read_bytes()
    if how == "members":
        missing = min(missing, whole[-1].length - 15)
    data = data[:-missing]
    (tmp_path / "a.arc").write_bytes(gzip.compress(data)[:-9] if how == "one" else data)
    found = read(tmp_path / "a.arc")
    assert found[:4] == whole[:4]
    assert [(type(item), item.reason) for item in found[4:]] == [(Damage, "truncated")]


def test_large_records_are_cut_at_the_limit(tmp_path: Path) -> None:
    for how in ("plain", "members", "one"):
        write(tmp_path / "a.arc", [FIRST, record("http://a.example/", b"x" * 50_000), PARTS[1]], how)
        big, small = read(tmp_path / "a.arc", limit=1000)
        assert len(big.block) == 1001 and small.block == PAGE % 0


def test_genuine_files_are_read_as_warcio_reads_them(real_data: Path) -> None:
    checked = 0
    for path in [*(real_data / "warc" / "real").rglob("*.arc"), *(real_data / "warc" / "real").rglob("*.arc.gz")]:
        with open(path, "rb") as file:
            expected = [
                (record.rec_headers["uri"], record.raw_stream.read())
                for record in ArchiveIterator(file, no_record_parse=True)
                if record.rec_type == "response"
            ]
        assert [(r.url, r.block) for r in read(path, 1 << 25) if isinstance(r, Record)] == expected, path
        checked += len(expected)
    assert checked > 200
