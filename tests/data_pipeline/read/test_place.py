"""From the place that a corpus records back to the record, in every format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.read import InputFile, ReadConfig, open_records
from data_pipeline.read.items import Record, TextRecord
from data_pipeline.read.place import read_place
from millbase.errors import InputError

ROWS = [{"text": f"Text {n}", "url": f"http://a.example/{n}"} for n in range(30)]


def write(folder: Path, name: str, warc) -> Path:
    path, lines = folder / name, "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=7)
    elif name == "a.arrow":
        with pa.ipc.new_file(path, pa.Table.from_pylist(ROWS).schema) as writer:
            writer.write_table(pa.Table.from_pylist(ROWS), max_chunksize=7)
    elif "jsonl" in name:
        path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    elif "arc." in name and "warc" not in name:
        page = b"HTTP/1.1 200 OK\r\n\r\n<p>page "
        parts = [
            b"http://a.example/%d 192.0.2.1 20080430204825 text/html %d\n" % (n, len(page)) + page for n in range(9)
        ]
        parts = [b"filedesc://a 0.0.0.0 20080430204825 text/plain 1\nx", *parts]
        parts = [part + b"\n" for part in parts]
        one = name.startswith("one")
        path.write_bytes(gzip.compress(b"".join(parts)) if one else b"".join(map(gzip.compress, parts)))
    else:
        warc.prose(5).write(path, gzip=name == "a.warc.gz")
        if name == "one.warc.gz":
            path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "name",
    ["a.warc.gz", "a.warc", "one.warc.gz", "a.arc.gz", "one.arc.gz", "a.jsonl", "a.jsonl.gz", "a.parquet", "a.arrow"],
)
def test_every_place_leads_back(warc, tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, warc)
    items = list(open_records(InputFile(str(path), name, "s", ""), ReadConfig()).records())
    assert len(items) >= 5
    for item in items:
        headers, content = read_place(str(path), item.offset, 200)
        if isinstance(item, Record):
            assert headers["WARC-Target-URI"] == item.url and content == item.block[:200]
        else:
            assert isinstance(item, TextRecord)
            assert json.loads(content) == {"text": item.text, "url": item.url}
    with pytest.raises(InputError, match=r"holds no record at 1000000000 .* the file changed"):
        read_place(str(path), 10**9, 200)
