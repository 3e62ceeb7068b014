"""Reading texts from every kind of file, sampling them, and what happens to bad records."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from data_pipeline.texts import TextSource, read_texts, sample_texts, text_of
from millbase.errors import InputError

TEXTS = ["first text", "zweiter Täxt", "第三"]


def lines(texts: list[str], field: str = "text") -> bytes:
    return "".join(json.dumps({field: text}, ensure_ascii=False) + "\n" for text in texts).encode()


def write_all_kinds(folder: Path) -> dict[str, Path]:
    table = pa.table({"text": TEXTS, "other": [1, 2, 3]})
    paths = {kind: folder / f"x.{kind}" for kind in ("jsonl", "jsonl.gz", "jsonl.zst", "parquet", "arrow", "txt")}
    paths["stream"] = folder / "stream.arrow"
    paths["jsonl"].write_bytes(lines(TEXTS))
    paths["jsonl.gz"].write_bytes(gzip.compress(lines(TEXTS)))
    paths["jsonl.zst"].write_bytes(zstandard.compress(lines(TEXTS)))
    pq.write_table(table, paths["parquet"])
    with pa.ipc.new_file(str(paths["arrow"]), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    with pa.ipc.new_stream(str(paths["stream"]), table.schema) as writer:
        writer.write_table(table)
    paths["txt"].write_text("\n".join(TEXTS), encoding="utf-8")
    return paths


def test_every_kind_of_file(tmp_path: Path) -> None:
    for kind, path in write_all_kinds(tmp_path).items():
        expected = ["\n".join(TEXTS)] if kind == "txt" else TEXTS
        assert list(read_texts(TextSource(path=str(path)))) == expected, kind


def test_globs_and_lists_are_read_in_order_of_name(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_bytes(lines(["b"]))
    (tmp_path / "a.jsonl").write_bytes(lines(["a"]))
    (tmp_path / "c.txt").write_text("c")
    assert list(read_texts(TextSource(path=str(tmp_path / "*.jsonl")))) == ["a", "b"]
    assert list(read_texts(TextSource(path=[str(tmp_path / "c.txt"), str(tmp_path / "a.jsonl")]))) == ["c", "a"]


def test_text_of_records() -> None:
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    assert text_of({"messages": messages}, "messages") == "Q\n\nA"
    assert text_of({"text": None}, "text") == ""
    for record, reason in (
        ({"a": 1}, "no key 'text', only 'a'"),
        ({"text": 3}, "holds int"),
        ([1], "expected a JSON object, found list"),
    ):
        with pytest.raises(InputError, match=reason):
            text_of(record, "text")


def test_few_bad_records_are_skipped_and_many_stop(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines(["good"] * 99) + b'{"text": "trunca\n')
    assert list(read_texts(TextSource(path=str(path)))) == ["good"] * 99
    path.write_bytes(lines(["good"] * 9) + b"not json\n")
    with pytest.raises(InputError, match="1 of 10 records hold no text"):
        list(read_texts(TextSource(path=str(path))))
    path.write_bytes(lines(["good"] * 9))
    with pytest.raises(InputError, match=r"9 of 9 records hold no text .no key 'body', only 'text'"):
        list(read_texts(TextSource(path=str(path), field="body")))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b")
    (tmp_path / "x.arrow").write_text("no arrow")
    with pytest.raises(InputError, match="unknown kind of file"):
        list(read_texts(TextSource(path=str(tmp_path / "x.csv"))))
    with pytest.raises(InputError, match="is not an Arrow IPC file or stream"):
        list(read_texts(TextSource(path=str(tmp_path / "x.arrow"))))
    with pytest.raises(InputError, match="nothing matches"):
        list(read_texts(TextSource(path=str(tmp_path / "*.parquet"))))


def test_samples_depend_on_the_texts_alone(tmp_path: Path) -> None:
    texts = [f"text {index}" for index in range(300)]
    (tmp_path / "a.jsonl").write_bytes(lines(texts))
    (tmp_path / "b.jsonl").write_bytes(lines(texts[::-1] + texts[:50]))
    first, second = (TextSource(path=str(tmp_path / name), max_documents=40) for name in ("a.jsonl", "b.jsonl"))
    sample = sample_texts(first, seed=0)
    assert len(set(sample)) == 40
    assert sample == sample_texts(second, seed=0), "order and repetition do not matter"
    assert sample == sample_texts(TextSource(path=str(tmp_path / "a.jsonl")), seed=0)[:40], "the lowest keys of all"
    assert set(sample) != set(sample_texts(first, seed=1))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    paths = write_all_kinds(tmp_path)
    for kind in ("jsonl.gz", "parquet"):
        paths[kind].write_bytes(paths[kind].read_bytes()[:-9])
        with pytest.raises(InputError, match=r"x\.[a-z.]+' cannot be read"):
            list(read_texts(TextSource(path=str(paths[kind]))))
    (tmp_path / "latin.jsonl").write_bytes('{"text": "Täxt"}\n'.encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_texts(TextSource(path=str(tmp_path / "latin.jsonl"))))
