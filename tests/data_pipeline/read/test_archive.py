"""Reading of whole, truncated, damaged and foreign WARC files."""

import gzip
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from data_pipeline.read.archive import WarcFile
from data_pipeline.read.items import Damage, Record
from millbase.errors import InputError

LIMIT = 1 << 20


def read(path: Path, limit: int = LIMIT) -> list[Record | Damage]:
    return list(WarcFile(str(path), limit).records())


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_records_and_their_places_agree_with_warcio(warc, tmp_path: Path, compressed: bool) -> None:
    path = warc.prose(5).write(tmp_path / "a.warc", gzip=compressed)
    records = read(path)
    expected = []
    with open(path, "rb") as file:
        iterator = ArchiveIterator(file, no_record_parse=True)
        for record in iterator:
            body = record.raw_stream.read()
            blank_lines = 0 if compressed else 4  # that end a record; warcio counts them in compressed files only
            place = (iterator.get_record_offset(), iterator.get_record_length() + blank_lines)
            if record.rec_type == "response":
                headers = record.rec_headers
                expected.append((headers["WARC-Target-URI"], headers["WARC-Record-ID"], *place, body))
    assert [(r.url, r.record_id, r.offset, r.length, r.block) for r in records] == expected


def test_each_record_can_be_read_alone_from_its_place(warc, tmp_path: Path) -> None:
    path = warc.prose(4).write(tmp_path / "a.warc.gz")
    data = path.read_bytes()
    for record in read(path):
        alone = gzip.decompress(data[record.offset : record.offset + record.length])
        assert alone.startswith(b"WARC/") and record.url.encode() in alone


def test_one_gzip_member_for_all_records_counts_in_the_uncompressed_stream(warc, tmp_path: Path) -> None:
    plain = warc.prose(5).write(tmp_path / "plain.warc", gzip=False)
    whole = write(tmp_path / "whole.warc.gz", gzip.compress(plain.read_bytes()))
    assert [(r.offset, r.url, r.block) for r in read(whole)] == [(r.offset, r.url, r.block) for r in read(plain)]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("cut", ["inside a body", "inside a header"])
def test_a_file_that_ends_early_gives_all_records_before_and_one_damage(
    warc, tmp_path: Path, compressed: bool, cut: str
) -> None:
    path = warc.prose(5).write(tmp_path / "a.warc", gzip=compressed)
    whole = read(path)
    last = whole[-1]
    end = last.offset + (last.length - 60 if cut == "inside a body" else 15)
    found = read(write(tmp_path / "cut.warc", path.read_bytes()[:end]))
    assert found[: len(whole) - 1] == whole[:-1]
    assert [(type(item), item.reason, item.offset) for item in found[len(whole) - 1 :]] == [
        (Damage, "truncated", last.offset)
    ]


def test_a_file_cut_between_records_is_whole(warc, tmp_path: Path) -> None:
    path = warc.prose(5).write(tmp_path / "a.warc.gz")
    whole = read(path)
    assert read(write(tmp_path / "cut.warc.gz", path.read_bytes()[: whole[3].offset])) == whole[:3]


@pytest.mark.parametrize("at", [0, 300])
def test_reading_goes_on_after_a_damaged_gzip_member(warc, tmp_path: Path, at: int) -> None:
    path = warc.prose(6).write(tmp_path / "a.warc.gz")
    whole = read(path)
    data = bytearray(path.read_bytes())
    data[whole[2].offset + at : whole[2].offset + at + 60] = bytes(60)
    found = read(write(tmp_path / "bad.warc.gz", bytes(data)))
    assert [item for item in found if isinstance(item, Record)] == whole[:2] + whole[3:]
    damages = [item for item in found if isinstance(item, Damage)]
    assert [(d.offset, d.offset + d.length, d.reason) for d in damages] == [
        (whole[2].offset, whole[3].offset, "damaged")
    ]


def test_reading_goes_on_after_garbage_between_plain_records(warc, tmp_path: Path) -> None:
    path = warc.prose(4).write(tmp_path / "a.warc", gzip=False)
    whole = read(path)
    data = path.read_bytes()
    cut = whole[2].offset
    found = read(write(tmp_path / "bad.warc", data[:cut] + b"garbage garbage\r\n\r\n" * 40 + data[cut:]))
    assert [item.url for item in found if isinstance(item, Record)] == [record.url for record in whole]
    assert [(item.offset, item.reason) for item in found if isinstance(item, Damage)] == [(cut, "damaged")]


def test_huge_records_are_cut_at_the_limit(warc, tmp_path: Path) -> None:
    path = warc.page("http://a.example/", "x" * 100_000).page("http://b.example/", "y").write(tmp_path / "a.warc.gz")
    big, small = read(path, limit=5000)
    assert len(big.block) == 5001 and small.url == "http://b.example/"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"<html>no warc</html>" * 50, "looks like HTML"),
        (gzip.compress(b"hello world " * 500, mtime=0), "starts with b'hello world"),
        (b"\x00" * 5000, "at offset 0"),
        (b"filedesc://x.arc 0.0.0.0 20080101000000 text/plain 76\n" * 20, "an ARC file"),
    ],
)
def test_files_that_are_no_warc_are_named_with_what_they_are(tmp_path: Path, data: bytes, words: str) -> None:
    path = write(tmp_path / "x.warc.gz", data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_malformed_collection_never_breaks_the_reader(real_data: Path) -> None:
    """Files from the test suites of WARC libraries: records, damage or one clear error, and nothing else."""
    outcomes = {"records": 0, "damage": 0, "error": 0}
    for path in sorted((real_data / "warc" / "malformed").iterdir()):
        try:
            items = read(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            outcomes["error"] += 1
            continue
        outcomes["records"] += sum(isinstance(item, Record) for item in items)
        outcomes["damage"] += sum(isinstance(item, Damage) for item in items)
        offsets = [item.offset for item in items]
        assert offsets == sorted(offsets), path
    assert min(outcomes.values()) >= 5, outcomes


def test_genuine_crawls_are_read_as_warcio_reads_them(real_data: Path) -> None:
    checked = 0
    for path in sorted((real_data / "warc" / "real").rglob("*.warc.gz")):
        with open(path, "rb") as file:
            try:
                expected = [
                    (record.rec_headers["WARC-Target-URI"], record.raw_stream.read())
                    for record in ArchiveIterator(file, no_record_parse=True)
                    if record.rec_type in ("response", "revisit")
                ]
            except Exception:  # files warcio itself cannot read tell nothing
                continue
        if expected and path.stat().st_size < 5_000_000:
            found = [(item.url, item.block) for item in read(path, 1 << 25) if isinstance(item, Record)]
            assert found == expected, path
            checked += len(found)
    assert checked > 50
