"""Duplicate removal in whole builds: memory, addresses, paragraphs, runs of words, and indexes of earlier builds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.base.sorting import Space
from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus, read_corpus, read_funnel
from data_pipeline.corpus.ids import find_renames, rename
from millbase.artifacts import open_artifact
from millbase.errors import ArtifactError

FILTERS = ("url", "language", "gopher_repetition", "gopher_quality", "c4", "fineweb")
WORDS = ["the", "of", "and", "to", "in", "that", "was", "with", "have", "river", "stone", "market", "bridge", "garden"]
NOTICE = "This notice about the terms of our small market stands below each and every article of the whole site."


def text(seed: int) -> list[str]:
    """Three paragraphs of words that no other seed has in this order."""
    draw = np.random.default_rng(seed)
    sentences = [" ".join(draw.choice(WORDS, 12)).capitalize() + f" {draw.integers(10**6)}." for _ in range(18)]
    return [" ".join(sentences[start : start + 6]) for start in (0, 6, 12)]


def config(folder: Path, dedup: dict[str, Any], name: str = "crawl") -> CorpusConfig:
    return CorpusConfig.model_validate(
        {
            "sources": [SourceConfig(inputs=str(folder / name / "*.jsonl"))],
            "dedup": dedup,
            "workers": 1,
            **{step: {"enabled": False} for step in FILTERS},
        }
    )


def write(path: Path, rows: list[tuple[str, list[str]]], dates: tuple[str, ...] = ()) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = []
    for number, (url, paragraphs) in enumerate(rows):
        row = {"id": f"{path.stem[:3]}-{number}", "url": url, "text": "\n".join(paragraphs)}
        lines.append(json.dumps(row | ({"date": dates[number]} if dates else {})) + "\n")
    path.write_text("".join(lines))


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """Copies of every kind; the third file has the ids and documents of the first again."""
    one = [(f"http://one.example/{n}", text(n)) for n in range(30)]
    two = []
    for n in range(30):
        if n % 3 == 0:
            two.append((f"http://two.example/{n}", text(n)))  # equal
        elif n % 3 == 1:  # nearly
            two.append((f"http://www.one.example:80/{n}?utm_source=x", [*text(n)[:2], text(n)[2][:-40]]))
        else:
            shared = " ".join(text(n)[0].split()[5:65])
            two.append((f"http://two.example/{n}", [*text(100 + n), NOTICE, shared]))
    write(tmp_path / "crawl/one.jsonl", one)
    write(tmp_path / "crawl/two.jsonl", two)
    write(tmp_path / "crawl/one-again.jsonl", one)
    return tmp_path


def dropped(corpus: Path) -> list[dict[str, Any]]:
    files = sorted((corpus / "dropped").glob("*.arrow"))
    return [row for file in files for row in pa.ipc.open_file(file).read_all().to_pylist()]


def contents(corpus: Path) -> dict[str, bytes]:
    files = [file for file in corpus.rglob("*") if file.is_file()]
    return {
        file.relative_to(corpus).as_posix(): file.read_bytes()
        for file in files
        if file.name not in ("manifest.json", "timings.json")
    }


EVERYTHING = {
    "url": True,
    "paragraphs": {"enabled": True},
    "substrings": {"enabled": True},
    "minhash": {"min_similarity": 0.5},
}


def test_everything_in_hardly_any_memory_gives_the_same_bytes(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = build_corpus(config(crawl, EVERYTHING), crawl / "roomy")
    monkeypatch.setattr("data_pipeline.base.sorting._PARTS", 1 << 14)  # a megabyte of memory is 64 bytes then
    tight = build_corpus(config(crawl, {**EVERYTHING, "memory_bytes": 1 << 20}), crawl / "tight")
    assert contents(tight) == contents(roomy)
    assert open_artifact(tight).digest == open_artifact(roomy).digest
    steps = {row["step"]: row["dropped"] for row in read_funnel(roomy)}
    assert steps["url_dedup"] == 40 and steps["exact_dedup"] == 10 and steps["minhash_dedup"] == 0
    assert not list(roomy.rglob("scratch"))


def test_details_name_the_document_that_is_kept_and_how_alike_it_is(crawl: Path) -> None:
    corpus = build_corpus(config(crawl, {}), crawl / "corpus")
    ids = {document["id"] for document in read_corpus(corpus)}
    rows = dropped(corpus)
    assert {row["step"] for row in rows} == {"exact_dedup", "minhash_dedup"}
    assert any(row["id"].endswith("#2") for row in rows)
    for row in rows:
        assert row["detail"].removeprefix("of ") in ids
        if row["step"] == "minhash_dedup":
            assert row["reason"] == "near_copy" and 0.65 <= row["value"] <= 1 and row["threshold"] == 0.65
        else:
            assert row["reason"] == "copy" and row["value"] is None


@pytest.mark.parametrize(("keep", "kept"), [("first", 0), ("newest", 1), ("oldest", 2)])
def test_one_document_an_address(keep: str, kept: int, tmp_path: Path) -> None:
    urls = [
        "http://a.example/x",
        "https://www.a.example/x/#top",
        "http://a.example:80/x?utm_source=y",
        "http://a.example/y",
    ]
    dates = ("2024-03-01T00:00:00Z", "2025-01-01T00:00:00Z", "2020-12-31", "2024-01-01")
    write(tmp_path / "crawl/one.jsonl", [(url, text(n)) for n, url in enumerate(urls)], dates)
    corpus = build_corpus(config(tmp_path, {"url": True, "keep": keep}), tmp_path / "corpus")
    assert [document["url"] for document in read_corpus(corpus)] == [urls[kept], urls[3]]
    for row in dropped(corpus):
        assert (row["step"], row["reason"], row["detail"]) == ("url_dedup", "same_url", f"of one-{kept}")


def test_shared_text_is_taken_out_and_recorded(crawl: Path) -> None:
    plain = {d["id"]: d for d in read_corpus(build_corpus(config(crawl, {}), crawl / "plain"))}
    wanted = {"paragraphs": {"enabled": True}, "substrings": {"enabled": True, "min_words": 40}}
    cut = {d["id"]: d for d in read_corpus(build_corpus(config(crawl, wanted), crawl / "cut"))}
    assert cut.keys() == plain.keys()
    assert (
        sum(NOTICE in d["text"] for d in plain.values()) == 10 and sum(NOTICE in d["text"] for d in cut.values()) == 1
    )
    changed = [d for d in cut.values() if d["text"] != plain[d["id"]]["text"]]
    assert changed and {span["step"] for d in changed for span in d["removed_spans"]} == {
        "paragraph_dedup",
        "substring_dedup",
    }
    for document in cut.values():
        before = plain[document["id"]]["text"]
        spans = document["removed_spans"] or []
        places = [n for n in range(len(before)) if not any(s["start"] <= n < s["end"] for s in spans)]
        assert "".join(before[n] for n in places).strip() == document["text"]
        assert (document["removed_characters"] or 0) == len(before) - len(document["text"])
        assert (document["removed_spans"] is None) == (document not in changed)
    total = open_artifact(crawl / "cut").stats["text_bytes"]
    assert total == sum(len(d["text"].encode()) for d in cut.values())


def test_an_index_stands_in_for_the_documents_of_an_earlier_build(crawl: Path) -> None:
    both = build_corpus(config(crawl, {"url": True}), crawl / "both")
    (crawl / "first").mkdir()
    (crawl / "crawl/one.jsonl").rename(crawl / "first/one.jsonl")
    first = build_corpus(config(crawl, {"url": True, "index": str(crawl / "index")}, "first"), crawl / "corpus")
    index = open_artifact(crawl / "index", kind="dedup-index")
    assert index.stats["documents"] == len(list(read_corpus(first))) == 30
    later = build_corpus(config(crawl, {"url": True, "against": [str(crawl / "index")]}), crawl / "later")
    texts = {d["text"] for d in read_corpus(first)} | {d["text"] for d in read_corpus(later)}
    assert texts == {d["text"] for d in read_corpus(both)}
    indexed = {d["id"] for d in read_corpus(first)}
    rows = [row for row in dropped(later) if row["detail"].endswith(" (indexed)")]
    assert {row["step"] for row in rows} == {"url_dedup", "exact_dedup"} and len(rows) == 50
    assert all(row["detail"].removeprefix("of ").removesuffix(" (indexed)") in indexed for row in rows)
    again = build_corpus(config(crawl, {"against": [str(crawl / "index")]}), crawl / "again")
    near = [row for row in dropped(again) if row["step"] == "minhash_dedup"]
    assert len(near) == 10 and all(row["detail"].endswith(" (indexed)") for row in near)
    repeated = build_corpus(config(crawl, {"url": True, "index": str(crawl / "index2")}, "first"), crawl / "corpus2")
    assert open_artifact(crawl / "index2").digest == index.digest
    assert open_artifact(repeated).digest == open_artifact(first).digest


def test_bad_indexes_are_told_before_any_work(crawl: Path) -> None:
    build_corpus(config(crawl, {"index": str(crawl / "index")}), crawl / "corpus")

    def build(**dedup: Any) -> None:
        build_corpus(config(crawl, {"against": [str(crawl / "index")], **dedup}), crawl / "other")

    with pytest.raises(ArtifactError, match=r"minhash\.rows=8 \(here 4\)"):
        build(minhash={"rows": 4})
    with pytest.raises(ArtifactError, match="is a 'corpus' artifact, expected 'dedup-index'"):
        build(against=[str(crawl / "corpus")])
    with pytest.raises(ArtifactError, match="does not exist"):
        build(against=[str(crawl / "nothing")])
    file = crawl / "index/documents.arrow"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"documents\.arrow' changed since it was written"):
        build()
    assert not (crawl / "other").exists() and not (crawl / ".other.work").exists()


def test_repeated_ids_are_numbered_in_input_order(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    records = [(task, f"id{draw.integers(0, 900)}", position) for task in range(7) for position in range(300)]
    seen: dict[str, int] = {}
    expected = {}
    for task, name, position in records:
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            expected[task, position] = seen[name]
    shuffled = [records[n] for n in draw.permutation(len(records))]
    pieces = [(task, [name], np.array([position])) for task, name, position in shuffled]
    for memory in (1 << 30, 1 << 10):
        found = find_renames(iter(pieces), Space(memory, tmp_path))
        got = {(task, position): number for task in range(7) for position, number in found.of(task).items()}
        assert got == expected
    table = pa.table({"id": ["a", "b"], "position": [0, 5]})
    assert rename(table, {5: 3})["id"].to_pylist() == ["a", "b#3"]
