"""A corpus with copies, drops of several kinds, two hosts and two languages."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus
from data_pipeline.minhash import MinHashConfig
from data_pipeline.url.config import UrlConfig

TEXT = "the of and to in that was with have been river mountain village history people water bridge"
WORDS = TEXT.split()


def sentence(number: int) -> str:
    """Words that no other sentence has in this order."""
    random_ = random.Random(number)
    return " ".join(random_.choice(WORDS) for _ in range(14)).capitalize() + f" {random_.randint(1000, 9999)}."


SENTENCES = [sentence(number) for number in range(40)]
GERMAN = "Der Fluss fließt seit vielen Jahrhunderten durch das Tal und die Menschen leben dort mit ihren Familien. "


@pytest.fixture(scope="session")
def crawl_maker(request: pytest.FixtureRequest):
    """`crawl_maker(folder, new_warc, page)` writes the crawl."""

    def make(folder: Path, new_warc, page) -> Path:
        one = new_warc().prose(10, host="good.example")
        one.page("http://near.example/original", page([" ".join(SENTENCES[:15]), " ".join(SENTENCES[15:])], "Rivers"))
        changed = [*SENTENCES[:-1], sentence(99)]
        two = new_warc()
        two.page("http://near.example/changed", page([" ".join(changed[:15]), " ".join(changed[15:])], "Rivers"))
        two.page("http://mirror.example/original", page([" ".join(SENTENCES[:15]), " ".join(SENTENCES[15:])], "Rivers"))
        two.page("http://good.example/old", "", "301 Moved")
        two.page("http://good.example/de", page([GERMAN * 5]))
        two.page("http://bad.example/x", page(["Text on a blocked host. " * 20]))
        two.page("http://good.example/short", page(["Too short."]))
        two.page(
            "http://good.example/few",
            page(["This page has some words, and that is all there is with it, to be honest."]),
        )
        one.write(folder / "crawl/one.warc.gz", seed=1)
        two.write(folder / "crawl/two.warc", gzip=False, seed=2)
        (folder / "blocked.txt").write_text("bad.example\n")
        return folder

    return make


def settings(folder: Path, **changes: object) -> CorpusConfig:
    values: dict[str, object] = {
        "sources": [SourceConfig(inputs=str(folder / "crawl/*"), dump="D")],
        "url": UrlConfig(domain_lists=[str(folder / "blocked.txt")]),
        "c4": {"enabled": False},  # it would drop every short page first
        "workers": 1,
    }
    return CorpusConfig.model_validate(values | changes)


@pytest.fixture
def crawl(crawl_maker, new_warc, page, tmp_path: Path) -> Path:
    """The folder that holds the crawl."""
    return crawl_maker(tmp_path, new_warc, page)


@pytest.fixture
def corpus(crawl: Path) -> Path:
    """The corpus of the crawl."""
    assert MinHashConfig().shingle_words == 5
    return build_corpus(settings(crawl), crawl / "corpus")


@pytest.fixture
def make_corpus(crawl: Path):
    """`make_corpus(name, **changes)`: a corpus of the same crawl under another configuration."""

    def make(name: str, **changes: object) -> Path:
        return build_corpus(settings(crawl, **changes), crawl / name)

    return make
