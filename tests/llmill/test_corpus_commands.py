"""The commands that look into a corpus: what they print, in words and as JSON, and how they refuse."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus, read_corpus
from data_pipeline.heuristics import C4Config
from llmill.cli.app import app
from millbase.errors import ConfigError, InputError

FEW = (
    "This page has some words, and that is all there is with it, to be honest. We have written one more line about a "
    "river, so nobody could call what you read here empty; still, forty are fewer than fifty."
)
TEXT = "the of and to in that was with have been river mountain village history people water during market"
WORDS = TEXT.split()


def sentence(random_: random.Random) -> str:
    return " ".join(random_.choice(WORDS) for _ in range(12)).capitalize() + f" {random_.randint(1, 10**6)}."


def write_crawl(path: Path) -> None:
    random_ = random.Random(0)
    with open(path, "wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number in range(8):
            sentences = [FEW] if number == 7 else [sentence(random_) for _ in range(30)]
            html = (
                f"<html><title>Page {number}</title><body><article><p>{' '.join(sentences)}</p></article></body></html>"
            )
            http = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            url = f"http://site.example/{number}\x1b[31m" if number == 6 else f"http://site.example/{number}"
            payload = io.BytesIO(html.encode())
            writer.write_record(writer.create_warc_record(url, "response", payload=payload, http_headers=http))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_crawl(folder / "crawl.warc.gz")
    sources = [SourceConfig(inputs=str(folder / "crawl.warc.gz"))]
    return build_corpus(CorpusConfig(sources=sources, workers=1, c4=C4Config(enabled=False)), folder / "corpus")


@pytest.fixture
def llmill(corpus: Path) -> Callable[..., str]:
    def call(*words: object) -> str:
        result = CliRunner().invoke(app, ["corpus", *map(str, words)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return call


def test_explain_tells_every_step(corpus: Path, llmill: Callable[..., str]) -> None:
    shown = llmill("explain", corpus, "http://site.example/7", "--text")
    assert re.search(
        r"dropped: http://site\.example/7\n  step gopher_quality, reason too_few_words: \d+ \(threshold 50\)", shown
    )
    assert re.search(r"gopher_quality +dropped +too_few_words  <- fails +\d+ +50", shown)
    assert "fineweb            not reached" in shown and "--- text after extract" in shown
    (story,) = json.loads(llmill("explain", corpus, "http://site.example/2", "--json"))
    assert story["status"] == "kept" and story["steps"][0]["step"] == "read" and story["notes"] == []
    assert "\x1b" not in llmill("explain", corpus, next(d["id"] for d in read_corpus(corpus) if "/6" in d["url"]))


def test_stats_in_tables_and_json(corpus: Path, llmill: Callable[..., str]) -> None:
    shown = llmill("stats", corpus, "--histograms")
    assert "7 of 8 pages kept" in shown and "site.example" in shown and "####" in shown
    assert re.search(r"gopher_quality +too_few_words +1 +50", shown)
    stats = json.loads(llmill("stats", corpus, "--json"))
    assert stats["documents"] == 7 and stats["language"][0]["language"] == "en"


def test_sample(corpus: Path, llmill: Callable[..., str]) -> None:
    shown = llmill("sample", corpus, "--dropped-by", "gopher_quality")
    assert shown.startswith("http://site.example/7\n  step gopher_quality, reason too_few_words") and "  | " in shown
    pages = json.loads(llmill("sample", corpus, "--kept", "--count", 3, "--json"))
    texts = {d["id"]: d["text"] for d in read_corpus(corpus)}
    assert len(pages) == 3 and all(texts[page["id"]] == page["text"] for page in pages)
    with pytest.raises(ConfigError, match=r"--dropped-by STEP .*or --kept"):
        llmill("sample", corpus)
    with pytest.raises(InputError, match="'url' dropped nothing"):
        llmill("sample", corpus, "--dropped-by", "url")


def test_diff_and_plan(corpus: Path, llmill: Callable[..., str]) -> None:
    shown = llmill("diff", corpus, corpus)
    assert "pages read by both: 8, of which 8 came out the same" in shown
    assert json.loads(llmill("diff", corpus, corpus, "--json"))["changes"] == []
    shown = llmill("plan", corpus, "--dump", "CC-MAIN-2024-51", "--price", 0.1)
    assert "CC-MAIN-2024-51: 3,000,000,000 pages in 90,000 files" in shown
    assert re.search(r"cost +[\d,]+ at 0\.1 a core-hour", shown) and "This assumes:" in shown
    plan = json.loads(llmill("plan", corpus, "--json"))
    assert plan["steps"][-1]["step"] == "all" and plan["steps"][-1]["ms_a_page_ci95"] is None
    with pytest.raises(ConfigError, match="--sample PATHS"):
        llmill("plan")


def test_plan_builds_a_sample(corpus: Path, llmill: Callable[..., str], tmp_path: Path) -> None:
    shown = llmill("plan", "--sample", corpus.parent / "crawl.warc.gz", "--out", tmp_path / "kept")
    assert "from a sample of 8 pages in 1 files" in shown and (tmp_path / "kept" / "manifest.json").is_file()


def test_funnel_is_still_there(corpus: Path, llmill: Callable[..., str]) -> None:
    assert "too_few_words 1" in llmill("funnel", corpus)
