"""The commands that export a corpus and report on evaluation items in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.write import corpus_schema
from llmill.cli import main
from millbase.artifacts import create_artifact
from millbase.config import Config

QUESTION = "How many of the seventeen sheep are left when all but nine of them have run away over the bridge?"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    texts = [f"Nothing at all, page {n}." + (QUESTION if n == 3 else "") for n in range(6)]
    place = {"source": "web", "warc_file": "a", "warc_offset": 0, "warc_length": 1}
    rows = [{"id": f"d{n}", "text": text, "url": f"http://a.example/{n}", **place} for n, text in enumerate(texts)]
    path = tmp_path / "corpus"
    with create_artifact(path, kind="corpus", config=Config()) as artifact:
        (artifact.path / "data").mkdir()
        with pa.ipc.new_file(str(artifact.path / "data" / "00000.arrow"), corpus_schema()) as writer:
            writer.write_table(pa.Table.from_pylist(rows, corpus_schema()))
        artifact.stats.update(warc_root="", read=6, documents=6, dropped=0)
    return path


def llmill(*words: object, status: int = 0) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["llmill", *map(str, words)])
        main()
    assert (ended.value.code or 0) == status


def test_export(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    llmill("corpus", "export", corpus, "--format", "parquet", "--columns", "id,text", "--out", out, "workers=1")
    assert capsys.readouterr().out == f"{out}\n"
    assert pq.read_table(out / "data" / "00000.parquet").column_names == ["id", "text"]
    llmill("corpus", "export", corpus, "-f", "jsonl", "--compression", "none", "-o", tmp_path / "lines", "workers=1")
    lines = (tmp_path / "lines/data/00000.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"d{n}" for n in range(6)]
    llmill("corpus", "export", corpus, "-f", "csv", "-o", tmp_path / "none", status=2)
    assert "format = 'csv': input should be 'parquet' or 'jsonl'" in capsys.readouterr().err


def test_contamination(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "quiz.jsonl").write_text(json.dumps({"q": QUESTION}) + "\n")
    sets = f"sets=[{{name: quiz, path: {tmp_path / 'quiz.jsonl'}}}]"
    llmill("corpus", "contamination", corpus, status=2)
    assert "was built without decontamination" in capsys.readouterr().err
    llmill("corpus", "contamination", corpus, sets)
    shown = capsys.readouterr().out
    assert "1 of 6 documents hold evaluation items" in shown and "quiz item 0: 1 documents" in shown
    llmill("corpus", "decontaminate", f"corpus={corpus}", sets, "--out", tmp_path / "clean")
    capsys.readouterr()
    llmill("corpus", "contamination", tmp_path / "clean", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["documents"]["dropped"] == 1 and report["sets"][0]["items_found"][0]["item"] == "0"
    llmill("lineage", tmp_path / "clean", "--document", "d1")
    assert "clean" in capsys.readouterr().out
