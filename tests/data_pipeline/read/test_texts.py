"""Documents from JSON Lines, plain text, Parquet and Arrow files."""

from __future__ import annotations

import bz2
import datetime
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from data_pipeline.base import DropLog
from data_pipeline.read import ColumnsConfig, InputFile, InputReader, ReadConfig
from millbase.errors import InputError


def documents(path: Path, limit: int = 1 << 20, **options: object) -> tuple[list, list]:
    """Documents passed on, and rows of the dropped table; together they are all that was read."""
    log = DropLog()
    file = InputFile(str(path), path.name, "texts", "D", **options)
    reader = InputReader([file], ReadConfig(max_record_bytes=limit, on_truncated="record"), log)
    kept = list(reader.run())
    assert len(kept) + len(log.rows) == reader.read
    assert [d.metadata["position"] for d in kept] + [r["position"] for r in log.rows] != [] or reader.read == 0
    return kept, log.rows


def lz4(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".lz4": lz4,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
ROWS = [{"text": f"Text number {n}. " * 20, "url": f"http://a.example/{n}", "id": f"doc-{n}"} for n in range(50)]
LINES = [json.dumps(row).encode() + b"\n" for row in ROWS]


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_lines_and_their_places_in_every_compression(tmp_path: Path, ending: str) -> None:
    data = b"".join(LINES[:20]) + b"\n" + b"".join(LINES[20:])
    (tmp_path / f"a.jsonl{ending}").write_bytes(COMPRESSIONS[ending](data))
    kept, dropped = documents(tmp_path / f"a.jsonl{ending}")
    assert not dropped and [d.text for d in kept] == [row["text"] for row in ROWS]
    assert [(d.id, d.metadata["url"]) for d in kept] == [(row["id"], row["url"]) for row in ROWS]
    places = [slice(d.metadata["warc_offset"], d.metadata["warc_offset"] + d.metadata["warc_length"]) for d in kept]
    assert [data[place] for place in places] == LINES
    assert all(d.metadata["extracted"] for d in kept) and kept[0].metadata["dump"] == "D"


@pytest.mark.parametrize("ending", [ending for ending in COMPRESSIONS if ending])
def test_a_compressed_file_that_ends_early_or_is_damaged(tmp_path: Path, ending: str) -> None:
    data = b"".join(json.dumps(row | {"noise": str(hash((n, "x")))}).encode() + b"\n" for n, row in enumerate(ROWS))
    stored = COMPRESSIONS[ending](data)
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(stored[: len(stored) // 2])
    log = DropLog()
    reader = InputReader([InputFile(str(path), "a", "s", "")], ReadConfig(on_truncated="record"), log)
    try:
        kept = list(reader.run())
        assert [row["reason"] for row in log.rows] == ["truncated"] and len(kept) == reader.read - 1
    except InputError as error:  # a single block holds all lines: nothing was readable
        assert "unreadable" in str(error) and len(log.rows) == 1
    with pytest.raises(InputError, match=r"ends early at offset \d+.*on_truncated=record"):
        list(InputReader([InputFile(str(path), "a", "s", "")], ReadConfig(), DropLog()).run())


def test_what_lines_can_be_dropped_for(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good"}',
        b"{broken",
        b'{"title": "no text"}',
        b'{"text": 5}',
        b'{"text": null}',
        b'{"text": "  "}',
        b'["a list"]',
        b'{"text": "\xff"}',
        json.dumps({"text": "long " * 1000}).encode(),
        b"[" * 5000,
        b'{"text": "\\ud800 lone surrogate"}',
        b"   ",
        b'{"text": "last"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\r\n".join(lines))
    kept, dropped = documents(tmp_path / "a.jsonl", limit=3000)
    assert [d.text for d in kept] == ["good", "\ud800 lone surrogate", "last"]
    assert [row["reason"] for row in dropped] == [
        *("bad_json", "no_text", "no_text", "no_text", "empty_body", "no_text", "bad_json", "too_large", "too_large")
    ]
    assert dropped[1]["detail"] == "no 'text' among 'title'" and dropped[7]["value"] == len(lines[8]) + 2


def test_columns_can_be_renamed_and_nested(tmp_path: Path) -> None:
    row = {"body": "Words.", "meta": {"link": "http://a.example/", "when": "2020-01-02", "n": 7}, "head": "Title"}
    columns = ColumnsConfig(text="body", url="meta.link", date="meta.when", id="meta.n", title="head")
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        (document,), _ = documents(tmp_path / name, columns=columns)
        found = [document.metadata[key] for key in ("url", "date", "title")]
        assert (document.text, document.id, *found) == ("Words.", "7", "http://a.example/", "2020-01-02", "Title")


def test_made_ids_and_addresses(tmp_path: Path) -> None:
    (tmp_path / "a b.jsonl").write_text('{"text": "one"}\n{"text": "two", "id": null, "url": ""}\n')
    kept, _ = documents(tmp_path / "a b.jsonl")
    assert [d.metadata["url"] for d in kept] == ["file:///a%20b.jsonl#0", "file:///a%20b.jsonl#1"]
    assert len({d.id for d in kept}) == 2 and all(len(d.id) == 32 for d in kept)
    assert [d.id for d in kept] == [d.id for d in documents(tmp_path / "a b.jsonl")[0]]


def test_files_without_the_text_column(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"content": "one"}\n' * 3)
    with pytest.raises(InputError, match=r"no text under 'text' in any of its first 3 lines.*'content'.*columns.text"):
        documents(tmp_path / "a.jsonl")
    pq.write_table(pa.table({"texts": ["one"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"no column 'text'; did you mean 'texts'\?.*columns.text"):
        documents(tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", ["parquet", "arrow file", "arrow stream"])
def test_tables(tmp_path: Path, kind: str) -> None:
    rows = [row | {"date": datetime.datetime(2024, 1, 2, 3, n)} for n, row in enumerate(ROWS)]
    table = pa.Table.from_pylist([*rows, {"text": None}, {"text": ""}, {"text": "x" * 5000}])
    path = tmp_path / ("a.parquet" if kind == "parquet" else "a.arrow")
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=20)
    else:
        new = pa.ipc.new_file if kind == "arrow file" else pa.ipc.new_stream
        with new(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=17)
    kept, dropped = documents(path, limit=4000)
    assert [d.text for d in kept] == [row["text"] for row in ROWS]
    assert [(d.metadata["warc_offset"], d.metadata["warc_length"]) for d in kept] == [(n, 1) for n in range(50)]
    assert kept[3].metadata["date"] == "2024-01-02T03:03:00" and kept[3].id == "doc-3"
    assert [row["reason"] for row in dropped] == ["no_text", "empty_body", "too_large"]


def test_damaged_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=20, compression="gzip", write_page_checksum=True)
    data = bytearray(path.read_bytes())
    whole = bytes(data)
    middle = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = middle.dictionary_page_offset or middle.data_page_offset
    data[start + 60 : start + 90] = bytes(30)
    path.write_bytes(data)
    kept, dropped = documents(path)
    assert [d.text for d in kept] == [row["text"] for row in ROWS[: len(kept)]] and 0 < len(kept) <= 20
    assert [(row["reason"], row["warc_offset"], row["warc_length"]) for row in dropped] == [
        ("damaged", len(kept), 50 - len(kept))
    ]
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match=r"not a parquet file.*fetch it again"):
        documents(path)


def test_plain_text(tmp_path: Path) -> None:
    text = "Zażółć gęślą jaźń.\nDruga linia.\n\nTrzecia."
    (tmp_path / "a.txt").write_bytes(text.encode())
    (document,), _ = documents(tmp_path / "a.txt")
    assert document.text == text and document.metadata["url"] == "file:///a.txt"
    lines, _ = documents(tmp_path / "a.txt", text_documents="line")
    assert [d.text for d in lines] == ["Zażółć gęślą jaźń.", "Druga linia.", "Trzecia."]
    assert lines[2].metadata["url"] == "file:///a.txt#2"
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress((text * 20).encode("cp1250")))
    assert documents(tmp_path / "b.txt.gz")[0][0].text == text * 20
    assert [row["reason"] for row in documents(tmp_path / "a.txt", limit=20)[1]] == ["too_large"]
    (tmp_path / "c.txt").write_bytes(b" \n\n")
    assert [row["reason"] for row in documents(tmp_path / "c.txt")[1]] == ["empty_body"]


def test_a_bomb_in_a_line_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(bytes(30_000_000)) + gzip.compress(b'\n{"text": "after"}\n'))
    kept, dropped = documents(tmp_path / "a.jsonl.gz", limit=10_000)
    assert [d.text for d in kept] == ["after"]
    assert [(row["reason"], row["value"]) for row in dropped] == [("too_large", 30_000_001.0)]


def test_empty_files_hold_nothing(tmp_path: Path) -> None:
    for name, data in (("a.jsonl", b""), ("a.jsonl.gz", gzip.compress(b""))):
        (tmp_path / name).write_bytes(data)
        assert documents(tmp_path / name) == ([], [])
