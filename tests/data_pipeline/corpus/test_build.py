"""A whole build on small crawls: what is kept, what is dropped and why, and that the result never depends on luck."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from data_pipeline.corpus import (
    CorpusConfig,
    SourceConfig,
    build_corpus,
    document_location,
    explain,
    read_corpus,
    read_funnel,
)
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.url.config import UrlConfig
from millbase.artifacts import open_artifact
from millbase.errors import InputError

GERMAN = (
    "Der Fluss fließt seit vielen Jahrhunderten durch das Tal und die Menschen leben dort mit ihren Familien. "
    "Im Sommer kommen die Händler aus den Bergen, und auf dem Markt wird bis in den Abend hinein Musik gespielt. "
)


@pytest.fixture
def crawl(new_warc, page, tmp_path: Path) -> Path:
    """Two sources of three files with one page for nearly every reason to be dropped."""
    good = new_warc().prose(12, host="good.example")
    (
        good.page("http://good.example/old", "", "301 Moved", headers=[("Location", "/new")])
        .page("http://good.example/gone", "<html>gone</html>", "404 Not Found")
        .page("http://good.example/paper", b"%PDF-1.4 ...", content_type="application/pdf")
        .page("http://good.example/picture", b"\x89PNG....", content_type="image/png")
        .page("http://good.example/nothing", "")
        .page("http://good.example/de", page([GERMAN * 3]))
        .page("http://sub.BLOCKED.example/x", page(["Text on a blocked host. " * 20]))
        .page("http://good.example/short", page(["Too short."]))
    )
    good.write(tmp_path / "crawl/a/one.warc.gz", seed=1)
    copies = new_warc().prose(6, start=0, host="mirror.example")  # the same texts as good.example/page/0 to 5
    copies.prose(4, start=50, host="other.example").write(tmp_path / "crawl/b/two.warc.gz", seed=2)
    new_warc().prose(8, start=100, host="third.example").write(tmp_path / "crawl/b/three.warc", gzip=False, seed=3)
    (tmp_path / "blocked.txt").write_text("# comment\nblocked.example\n")
    return tmp_path


def config(crawl: Path, **changes: object) -> CorpusConfig:
    sources = [
        SourceConfig(name="a", inputs=str(crawl / "crawl/a/*.warc.gz"), dump="TEST-1"),
        SourceConfig(name="b", inputs=[str(crawl / "crawl/b/*")]),
    ]
    settings: dict[str, object] = {
        "sources": sources,
        "url": UrlConfig(domain_lists=[str(crawl / "blocked.txt")]),
        "workers": 1,
    }
    return CorpusConfig.model_validate(settings | changes)


def contents(corpus: Path) -> dict[str, bytes]:
    files = [
        file for file in corpus.rglob("*") if file.is_file() and file.name not in ("manifest.json", "timings.json")
    ]
    return {file.relative_to(corpus).as_posix(): file.read_bytes() for file in files}


@pytest.fixture
def corpus(crawl: Path) -> Path:
    return build_corpus(config(crawl), crawl / "corpus")


def test_every_record_is_kept_or_dropped_once_with_its_reason(corpus: Path) -> None:
    rows = {row["url"]: row for row in dropped_rows(corpus)}
    expected = {
        "http://good.example/old": ("read", "redirect"),
        "http://good.example/gone": ("read", "http_status"),
        "http://good.example/paper": ("read", "pdf"),
        "http://good.example/picture": ("read", "not_html"),
        "http://good.example/nothing": ("read", "empty_body"),
        "http://good.example/de": ("language", "de"),
        "http://sub.BLOCKED.example/x": ("url", "domain"),
        "http://good.example/short": ("extract", "too_short"),
    }
    assert {url: (rows[url]["step"], rows[url]["reason"]) for url in expected} == expected
    copies = [row for row in rows.values() if row["step"] in ("exact_dedup", "minhash_dedup")]
    assert len(copies) == 6
    kept = list(read_corpus(corpus))
    stats = open_artifact(corpus, kind="corpus").stats
    assert len(kept) == 12 + 4 + 8 and len(kept) + len(rows) == stats["read"] == 38
    assert len({row["id"] for row in [*kept, *rows.values()]}) == 38
    texts = {document["text"] for document in kept}
    assert len(texts) == len(kept)


def test_documents_carry_text_and_origin(corpus: Path) -> None:
    documents = list(read_corpus(corpus))
    first = next(document for document in documents if document["url"] == "http://good.example/page/10")
    assert first["title"] == "Page 10" and first["dump"] == "TEST-1"
    assert first["language"] == "en" and first["language_score"] > 0.65 and first["quality"] is None
    assert first["source"] == "a" and first["warc_file"] == "a/one.warc.gz"
    assert first["date"] == "2024-01-02T03:04:05Z"
    assert first["text"].count("\n") == 3 and "Home" not in first["text"] and "Footer" not in first["text"]
    assert [document["source"] for document in documents] == sorted(document["source"] for document in documents)


def test_funnel_adds_up(corpus: Path) -> None:
    rows = read_funnel(corpus)
    assert [row["step"] for row in rows][:4] == ["read", "url", "extract", "language"]
    assert rows[0]["read"] == 38 and rows[-1]["kept"] == 24
    for row, following in pairwise(rows):
        assert row["read"] - row["dropped"] == row["kept"] == following["read"]
    for row in rows:
        assert sum(row["reasons"].values()) == row["dropped"] and row["seconds"] >= 0


def test_two_workers_write_the_same_bytes(crawl: Path, corpus: Path) -> None:
    other = build_corpus(config(crawl, workers=2), crawl / "other")
    assert contents(other) == contents(corpus)
    assert open_artifact(other).digest == open_artifact(corpus).digest


def test_the_result_does_not_depend_on_where_the_crawl_lies(crawl: Path, corpus: Path) -> None:
    moved = crawl.parent / "moved"
    moved.mkdir()
    (crawl / "crawl").rename(moved / "crawl")
    (crawl / "blocked.txt").rename(moved / "blocked.txt")
    assert contents(build_corpus(config(moved), moved / "corpus")) == contents(corpus)


def test_explain_and_location(crawl: Path, corpus: Path) -> None:
    (dropped,) = explain(corpus, "http://good.example/de")
    assert dropped["status"] == "dropped" and dropped["reason"] == "de" and dropped["value"] > 0.9
    (kept,) = explain(corpus, "http://third.example/page/103")
    assert kept["status"] == "kept" and explain(corpus, kept["id"]) == [kept]
    place = document_location(corpus, kept["id"])
    record = Path(place["warc_file"]).read_bytes()[place["offset"] : place["offset"] + place["length"]]
    assert record.startswith(b"WARC/1.0") and b"http://third.example/page/103" in record
    with pytest.raises(InputError, match=r"http://nowhere.example.*38 pages"):
        explain(corpus, "http://nowhere.example")


def test_loads_with_datasets_and_memory_mapped(corpus: Path, tmp_path: Path) -> None:
    import datasets

    files = [str(file) for file in sorted((corpus / "data").glob("*.arrow"))]
    loaded = datasets.load_dataset("arrow", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["text"][:] == [document["text"] for document in read_corpus(corpus)]
    with pa.memory_map(files[0]) as source:
        assert pa.ipc.open_file(source).schema.names[:2] == ["id", "text"]


def test_shards_end_at_the_configured_size(crawl: Path, corpus: Path) -> None:
    small = build_corpus(config(crawl, shard_bytes=4000), crawl / "small")
    sizes = []
    for file in sorted((small / "data").glob("*.arrow")):
        sizes.append(sum(len(text.encode()) for text in pa.ipc.open_file(file).read_all()["text"].to_pylist()))
    assert len(sizes) > 5 and all(size <= 4000 for size in sizes)
    assert list(read_corpus(small)) == list(read_corpus(corpus))


def test_weights_sample_sources_down(crawl: Path) -> None:
    sources = [
        source.model_copy(update={"weight": weight}) for source, weight in zip(config(crawl).sources, (1.0, 3.0))
    ]
    corpus = build_corpus(config(crawl, sources=sources), crawl / "mixed")
    kept = list(read_corpus(corpus))
    sizes = {name: sum(len(d["text"].encode()) for d in kept if d["source"] == name) for name in "ab"}
    assert sizes["b"] / sizes["a"] == pytest.approx(3, rel=0.15)
    mixture = [row for row in dropped_rows(corpus) if row["step"] == "mixture"]
    assert mixture and {row["source"] for row in mixture} == {"a"}
    assert len(kept) + len(list(dropped_rows(corpus))) == 38


def test_deduplication_can_be_switched_off(crawl: Path) -> None:
    off = build_corpus(config(crawl, dedup=DedupConfig(exact=False, near=False)), crawl / "off")
    assert len(list(read_corpus(off))) == 30
    assert "minhash_dedup" not in {row["step"] for row in read_funnel(off)}


def test_equal_record_ids_become_unique(new_warc, tmp_path: Path) -> None:
    builder = new_warc().prose(5)
    builder.write(tmp_path / "x.warc.gz", seed=1)
    builder.write(tmp_path / "y.warc.gz", seed=1)
    sources = [SourceConfig(inputs=str(tmp_path / "*.warc.gz"))]
    corpus = build_corpus(CorpusConfig(sources=sources, workers=1), tmp_path / "corpus")
    kept = [document["id"] for document in read_corpus(corpus)]
    dropped = [row["id"] for row in dropped_rows(corpus)]
    assert len(kept) == len(dropped) == 5 and {f"{i}#2" for i in kept} == set(dropped)


def test_precision_and_recall_against_a_truth(crawl: Path) -> None:
    rows = [
        {"url": f"http://good.example/page/{n}", "warc_file": "crawl/a/one.warc.gz", "expected_step": None}
        for n in range(12)
    ]
    for n in range(6):
        rows[n]["dedup_group"] = f"g{n}"
        rows.append(
            {
                "url": f"http://mirror.example/page/{n}",
                "warc_file": "x/two.warc.gz",
                "expected_step": "dedup",
                "dedup_group": f"g{n}",
            }
        )
    rows.append({"url": "http://good.example/de", "warc_file": "one.warc.gz", "expected_step": "language"})
    rows.append({"url": "http://good.example/old", "warc_file": "one.warc.gz", "expected_step": "read"})
    rows.append({"url": "http://good.example/paper", "warc_file": "one.warc.gz", "expected_step": "heuristics"})
    truth = crawl / "truth.jsonl"
    truth.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = build_corpus(config(crawl, truth=str(truth)), crawl / "judged")
    table = {row["step"]: row for row in json.loads((corpus / "precision_recall.json").read_text())}
    assert (table["dedup"]["precision"], table["dedup"]["recall"], table["dedup"]["true_dropped"]) == (1, 1, 6)
    assert (table["language"]["precision"], table["language"]["recall"]) == (1, 1)
    assert (table["read"]["dropped"], table["read"]["true_dropped"], table["read"]["recall"]) == (2, 1, 1)
    assert table["heuristics"]["recall"] == 0 and table["heuristics"]["precision"] is None
    assert table["all"]["recall"] == 1 and table["all"]["precision"] == 1


def dropped_rows(corpus: Path) -> list[dict]:
    rows: list[dict] = []
    for file in sorted((corpus / "dropped").glob("*.arrow")):
        rows += pa.ipc.open_file(file).read_all().to_pylist()
    return rows
