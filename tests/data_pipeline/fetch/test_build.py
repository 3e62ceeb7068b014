"""Whole builds from remote crawls and from files of texts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.corpus import CorpusConfig, build_corpus, explain, read_corpus, read_funnel
from data_pipeline.fetch import FetchConfig
from millbase.artifacts import open_artifact, work_directory
from millbase.config import load_config
from millbase.errors import ConfigError, InputError

NAMES = [f"crawl-data/CC-MAIN-2024-51/segments/1/warc/CC-MAIN-{n}.warc.gz" for n in range(4)]


def config(fetch: FetchConfig, *sources: dict, **changes: object) -> CorpusConfig:
    settings = {"sources": sources, "read": {"fetch": fetch.model_dump()}, "workers": 1}
    return load_config(CorpusConfig, settings | changes)


@pytest.fixture
def crawl(server, new_warc):
    """A dump of four WARC files behind the server."""
    for n, name in enumerate(NAMES):
        server.files[name] = new_warc().prose(4, start=10 * n, host="a.example").to_bytes(seed=n)
    listing = "".join(f"{name}\n" for name in reversed(NAMES))
    server.files["crawl-data/CC-MAIN-2024-51/warc.paths.gz"] = gzip.compress(listing.encode())
    return server


def test_a_dump_by_name_over_a_bad_line(crawl, fetch: FetchConfig, tmp_path: Path) -> None:
    """A host that fails for good stops the build with one line; the same command goes on with what is missing."""
    source = {"crawl": {"dump": "CC-MAIN-2024-51", "base": crawl.address}}
    clean = build_corpus(config(fetch, source), tmp_path / "clean")
    assert len(list(read_corpus(clean))) == 16
    first = next(read_corpus(clean))
    assert (first["dump"], first["warc_file"]) == ("CC-MAIN-2024-51", NAMES[0])
    assert open_artifact(clean).stats["warc_root"] == f"{crawl.address}/"

    crawl.behaviours = {NAMES[0]: ["503", "cut:700", "429:0", "cut:300"], NAMES[1]: ["", "cut:900"]}
    crawl.always = {NAMES[2]: "503"}
    with pytest.raises(InputError, match=rf"{NAMES[2]}.*HTTP 503.*5 attempts.*requests_per_second"):
        build_corpus(config(fetch, source), tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists() and work_directory(tmp_path / "corpus").exists()
    crawl.always, crawl.requests[:] = {}, []
    slower = fetch.model_copy(update={"block_bytes": 4096, "connections": 1, "requests_per_second": 100.0})
    corpus = build_corpus(config(slower, source), tmp_path / "corpus")
    assert open_artifact(corpus).digest == open_artifact(clean).digest
    assert not {NAMES[0], NAMES[1]} & {path for path, _ in crawl.requests}, "finished files are not fetched again"


@pytest.mark.slow
def test_workers_share_the_line_and_give_the_same_bytes(crawl, fetch: FetchConfig, tmp_path: Path) -> None:
    source = {"crawl": {"dump": "CC-MAIN-2024-51", "base": crawl.address}}
    alone = build_corpus(config(fetch, source), tmp_path / "alone")
    polite = fetch.model_copy(update={"connections": 1, "block_bytes": 4096})
    crawl.behaviours = {name: ["503", "cut:100"] for name in NAMES}
    crawl.most_at_once = 0
    together = build_corpus(config(polite, source, workers=2), tmp_path / "together")
    assert open_artifact(together).digest == open_artifact(alone).digest
    assert crawl.most_at_once == 1


def test_a_sample_and_plain_addresses(crawl, fetch: FetchConfig, tmp_path: Path) -> None:
    sample = {"name": "sample", "crawl": {"dump": "CC-MAIN-2024-51", "base": crawl.address, "share": 0.5}}
    corpus = build_corpus(config(fetch, sample), tmp_path / "sample")
    assert len(list(read_corpus(corpus))) == 8
    one = build_corpus(config(fetch, {"inputs": crawl.url(NAMES[0])}), tmp_path / "one")
    assert {row["warc_file"] for row in read_corpus(one)} == {"CC-MAIN-0.warc.gz"}
    with pytest.raises(InputError, match=r"none\.warc\.gz.*does not exist"):
        build_corpus(config(fetch, {"inputs": crawl.url("none.warc.gz")}), tmp_path / "none")
    assert not (tmp_path / "none").exists() and not work_directory(tmp_path / "none").exists()


def test_every_format_together(new_warc, page, fetch: FetchConfig, tmp_path: Path) -> None:
    """Texts skip extraction, and every later step sees them: a copy of a page is found, wherever it came from."""
    pages = [build_text(n) for n in range(8)]
    rows = [{"text": text, "url": f"http://b.example/{n}", "id": f"id-{n}"} for n, text in enumerate(pages)]
    pq.write_table(pa.Table.from_pylist(rows[:3]), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows[3:5], rows[0] | {"id": "x"}]))
    (tmp_path / "c.txt").write_text(pages[5])
    wet = "".join(
        f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://w.example/{n}\r\nWARC-Date: 2024-01-01T00:00:00Z"
        f"\r\nWARC-Record-ID: <urn:uuid:0000000{n}>\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(pages[n].encode())}\r\n\r\n{pages[n]}\r\n\r\n"
        for n in (6, 7)
    )
    (tmp_path / "d.warc.wet.gz").write_bytes(gzip.compress(wet.encode()))
    new_warc().page("http://h.example/", page(["Short."])).write(tmp_path / "e.warc.gz")
    sources = [{"name": name[0], "inputs": str(tmp_path / name)} for name in ("a.parquet", "b.jsonl", "c.txt")]
    sources += [{"name": "wet", "inputs": str(tmp_path / "d.*")}, {"name": "html", "inputs": str(tmp_path / "e.*")}]
    corpus = build_corpus(config(fetch, *sources), tmp_path / "corpus")
    kept = {row["url"]: row for row in read_corpus(corpus)}
    assert [row["text"] for row in kept.values()] == pages
    assert [row["source"] for row in kept.values()] == ["a"] * 3 + ["b"] * 2 + ["c", "wet", "wet"]
    assert kept["http://b.example/2"]["id"] == "id-2" and kept["http://b.example/2"]["warc_offset"] == 2
    assert kept["file:///c.txt"]["warc_length"] == len(pages[5])
    assert kept["http://w.example/6"]["id"] == "00000006"
    funnel = {row["step"]: row for row in read_funnel(corpus)}
    assert funnel["read"]["read"] == 10 and funnel["extract"]["reasons"] == {"too_short": 1}
    assert [row["step"] for row in explain(corpus, "x")] in (["exact_dedup"], ["url_dedup"])


def build_text(seed: int) -> str:
    """Prose that passes every filter."""
    random = Random(seed)
    words = "the river and old bridge of stone have been there with people that live in small villages"

    def sentence() -> str:
        return " ".join(random.choices(words.split(), k=11)).capitalize() + f" {random.randrange(10**6)}."

    return "\n".join(" ".join(sentence() for _ in range(3)) for _ in range(6))


def test_a_source_names_its_files_once() -> None:
    for source in ({"name": "x"}, {"name": "x", "inputs": "a", "crawl": {"dump": "CC-MAIN-2024-51"}}):
        with pytest.raises(ConfigError, match="'x' needs inputs or crawl"):
            load_config(CorpusConfig, {"sources": [source]})
