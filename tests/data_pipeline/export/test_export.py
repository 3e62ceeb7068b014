"""Exports: what others' readers find in them is what the corpus holds."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from data_pipeline.corpus import read_corpus
from data_pipeline.export import ExportConfig, export_corpus
from data_pipeline.texts import TextSource, read_texts
from millbase.artifacts import open_artifact, work_directory
from millbase.config import load_config
from millbase.errors import ArtifactError, ConfigError, InputError

FORMATS = [("parquet", "zstd"), ("parquet", "snappy"), ("parquet", "gzip"), ("parquet", "none")]
FORMATS += [("jsonl", "zstd"), ("jsonl", "gzip"), ("jsonl", "none")]


@pytest.fixture
def corpus(corpus_from: Callable[..., Path], tmp_path: Path) -> Path:
    rows = [
        {
            "id": f"d{n}",
            "text": f'Text {n}: naïve 東京 🙂 "quoted"\n' * (n % 7 + 1),
            "title": None if n % 3 else f"Title {n}",
            "quality": {"score": n / 100} if n % 2 else None,
            "language_score": 0.5,
            "copies": n % 3 + 1 if n % 5 else None,
        }
        for n in range(200)
    ]
    return corpus_from(tmp_path / "corpus", rows, shards=3)


def export(corpus: Path, out: Path, **fields: Any) -> Path:
    return export_corpus(load_config(ExportConfig, {"corpus": str(corpus), "workers": 1, **fields}), out)


def files(export: Path) -> list[str]:
    return [str(file) for file in sorted((export / "data").iterdir())]


def contents(export: Path) -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in files(export)}


@pytest.mark.parametrize(("format_", "compression"), FORMATS)
def test_pyarrow_pandas_and_datasets_read_what_the_corpus_holds(
    corpus: Path, tmp_path: Path, format_: str, compression: str
) -> None:
    import datasets

    out = export(corpus, tmp_path / "out", format=format_, compression=compression, shard_bytes=9000)
    expected = list(read_corpus(corpus))
    names = files(out)
    assert len(names) > 3
    if format_ == "parquet":
        assert ds.dataset(names).to_table().to_pylist() == expected
        frame = pd.concat([pd.read_parquet(name) for name in names])
        assert pq.read_metadata(names[0]).row_group(0).column(0).compression == {"none": "UNCOMPRESSED"}.get(
            compression, compression.upper()
        )
    else:
        opened = {"gzip": gzip.open, "none": open}.get(compression)
        if opened:
            lines = [json.loads(line) for name in names for line in opened(name, "rt", encoding="utf-8")]
            assert lines == expected
        frame = pd.concat([pd.read_json(name, lines=True) for name in names])
    assert frame["text"].tolist() == [row["text"] for row in expected]
    assert frame["id"].tolist() == [row["id"] for row in expected]
    kind = "parquet" if format_ == "parquet" else "json"
    loaded = datasets.load_dataset(kind, data_files=names, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["text"][:] == [row["text"] for row in expected]
    assert list(read_texts(TextSource(path=names))) == [row["text"] for row in expected]


def test_the_manifest_leads_back_and_every_file_says_its_corpus(corpus: Path, tmp_path: Path) -> None:
    out = export(corpus, tmp_path / "out", shard_bytes=9000)
    manifest = open_artifact(out, kind="corpus-export")
    origin = open_artifact(corpus).digest
    assert manifest.inputs["corpus"]["digest"] == origin
    assert manifest.stats["rows"] == 200 and manifest.stats["files"] == len(files(out))
    assert manifest.stats["text_bytes"] == sum(len(row["text"].encode()) for row in read_corpus(corpus))
    for name in files(out):
        assert pq.read_schema(name).metadata[b"llmill.corpus"].decode() == origin


def test_columns_sizes_and_row_groups(corpus: Path, tmp_path: Path) -> None:
    out = export(corpus, tmp_path / "out", columns=["text", "id"], shard_bytes=5000, row_group_rows=16)
    for name in files(out):
        table = pq.read_table(name)
        assert table.schema.names == ["text", "id"]
        assert sum(len(text.encode()) for text in table["text"].to_pylist()) <= 5000
        groups = pq.read_metadata(name)
        sizes = [groups.row_group(index).num_rows for index in range(groups.num_row_groups)]
        assert set(sizes[:-1]) <= {16} and sizes[-1] <= 16


def test_copies_are_written_out_on_request(corpus: Path, tmp_path: Path) -> None:
    out = export(corpus, tmp_path / "out", repeat_copies=True, columns=["id"], shard_bytes=9000)
    found = ds.dataset(files(out)).to_table()["id"].to_pylist()
    assert found == [row["id"] for row in read_corpus(corpus) for _ in range(row["copies"] or 1)]
    assert open_artifact(out).stats["rows"] == len(found)


def test_workers_and_interruptions_make_no_difference(corpus: Path, tmp_path: Path) -> None:
    """SIGKILL after the first files, and the same command again with two processes."""
    fields = {"shard_bytes": 3000}
    one = export(corpus, tmp_path / "one", **fields)
    expected = [Path(name).read_bytes() for name in files(one)]
    out = tmp_path / "killed"
    code = (
        "import sys, time, json; import data_pipeline.export.corpus as c; from data_pipeline.export import *;"
        "write = c._write_file; slow = lambda *a: (write(*a), time.sleep(0.3));"
        "c._write_file = slow if sys.argv[4] == '1' else write;"
        "export_corpus(ExportConfig(corpus=sys.argv[1], workers=sys.argv[4], **json.loads(sys.argv[3])), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(corpus), str(out), json.dumps(fields)]
    process = subprocess.Popen([*command, "1"], stderr=subprocess.DEVNULL)
    data = work_directory(out) / "data"
    deadline = time.monotonic() + 60
    while (not data.is_dir() or len(list(data.glob("0*"))) < 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists() and 1 < len(list(data.glob("0*"))) < len(expected)
    times = {file.name: file.stat().st_mtime_ns for file in data.glob("0*")}
    subprocess.run([*command, "2"], check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "3"})
    assert [Path(name).read_bytes() for name in files(out)] == expected
    assert all((out / "data" / name).stat().st_mtime_ns == changed for name, changed in times.items())


def test_mistakes_are_named(corpus: Path, corpus_from: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="has no column 'txt'; did you mean 'text'"):
        export(corpus, out, columns=["txt"])
    with pytest.raises(ConfigError, match="jsonl has no compression 'snappy', expected zstd or gzip or none"):
        export(corpus, out, format="jsonl", compression="snappy")
    with pytest.raises(InputError, match="holds no documents"):
        export(corpus_from(tmp_path / "empty", []), out)
    file = corpus / "data" / "00001.arrow"
    file.write_bytes(file.read_bytes().replace(b"Text 100", b"Text 1O0"))
    with pytest.raises(ArtifactError, match="changed since it was written"):
        export(corpus, out)
    assert not out.exists()


def test_a_document_larger_than_a_file_gets_its_own(corpus_from: Callable[..., Path], tmp_path: Path) -> None:
    sizes = [10, 5000, 10, 10]
    made = corpus_from(tmp_path / "corpus", [{"id": f"d{n}", "text": "x" * size} for n, size in enumerate(sizes)])
    out = export(made, tmp_path / "out", shard_bytes=100)
    assert [pq.read_table(name)["id"].to_pylist() for name in files(out)] == [["d0"], ["d1"], ["d2", "d3"]]
    assert isinstance(pq.read_table(files(out)[0]), pa.Table)
