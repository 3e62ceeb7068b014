"""A corpus build with every scoring step switched on: columns, drops, determinism, filtering afterwards."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.corpus import CorpusConfig, build_corpus, read_corpus, read_funnel
from data_pipeline.filter import FilterConfig, filter_corpus
from data_pipeline.perplexity.train import train_perplexity
from data_pipeline.perplexity.train_config import PerplexityModelConfig
from data_pipeline.quality import QualityModelConfig, train_quality
from millbase.artifacts import open_artifact
from millbase.config import load_config
from millbase.errors import ArtifactError, InputError
from tests.data_pipeline.conftest import WarcBuilder, html_page, prose

SECRET = "Write to jane.doe@gmail.com or call +49 30 901820 about the darn bridge."


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """Two files of 30 pages each; every third one has personal data and a bad word."""
    pytest.importorskip("kenlm", reason="the package kenlm is not installed (extra `perplexity`)")
    for file in range(2):
        warc = WarcBuilder()
        for n in range(30):
            parts = [prose(5000 * file + 100 * n + part, 8) for part in range(3)]
            page = html_page([*parts, SECRET] if n % 3 == 0 else parts, f"Page {n}")
            warc.page(f"http://site{n}.example/{file}", page)
        warc.write(tmp_path / "crawl" / f"{file}.warc.gz", seed=file)
    rng = random.Random(0)
    good = [prose(n + 10**6, 6) for n in range(150)]
    raw = [
        " ".join(rng.choices(["buy", "cheap", "click", "here", "now", "casino", "pills"], k=40)) + f" {n}"
        for n in range(150)
    ]
    for name, texts in (("good", good), ("raw", raw)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = [{"path": str(tmp_path / "good.jsonl")}]
    quality = {"positives": source, "negatives": [{"path": str(tmp_path / "raw.jsonl")}], "folds": 2}
    train_quality(load_config(QualityModelConfig, quality | {"fasttext": {"buckets": 10_000}}), tmp_path / "quality")
    perplexity = load_config(PerplexityModelConfig, {"texts": source, "sample": source, "order": 2})
    train_perplexity(perplexity, tmp_path / "perplexity")
    (tmp_path / "words.txt").write_text("darn\n")
    return {
        "sources": [{"inputs": str(tmp_path / "crawl" / "*.warc.gz")}],
        "quality": {"model": str(tmp_path / "quality"), "min_score": 0.0},
        "perplexity": {"models": {"en": str(tmp_path / "perplexity")}},
        "bad_words": {"lists": {"en": str(tmp_path / "words.txt")}},
        "pii": {"enabled": True},
        "language": {"min_score": 0.0},
        "dedup": {"near": False},
    }


def build(config: dict[str, Any], out: Path, **changes: Any) -> Path:
    return build_corpus(load_config(CorpusConfig, config | changes), out)


def files(corpus: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((corpus / "data").iterdir())}


def test_scores_are_columns_and_workers_do_not_matter(config: dict[str, Any], tmp_path: Path) -> None:
    out = build(config, tmp_path / "one", workers=1)
    rows = list(read_corpus(out))
    assert len(rows) > 40
    for row in rows:
        quality, private = row["quality"], row["text"].count("email@example.com")
        assert 0 <= quality["score"] <= 1 and 0 <= quality["bucket"] <= 19 and quality["educational"] is None
        assert quality["perplexity"] > 1 and quality["perplexity_bucket"] in ("head", "middle", "tail")
        assert row["pii"]["email"] == row["pii"]["phone"] == row["safety"]["bad_words"] == private
        assert "jane.doe" not in row["text"] and "901820" not in row["text"] and row["safety"]["toxicity"] is None
    assert any(row["pii"]["email"] for row in rows) and not all(row["pii"]["email"] for row in rows)
    assert files(out) == files(build(config, tmp_path / "two", workers=2))
    steps = [row["step"] for row in read_funnel(out)]
    assert steps[steps.index("quality") : steps.index("pii") + 1] == ["quality", "perplexity", "bad_words", "pii"]
    inputs = open_artifact(out).inputs
    assert {"quality_model", "perplexity_model.en", "bad_words.en"} <= inputs.keys()


def test_limits_drop_and_a_later_filter_says_the_same(config: dict[str, Any], tmp_path: Path) -> None:
    everything = build(config, tmp_path / "all", workers=1)
    limited = build(config, tmp_path / "limited", workers=1, bad_words=config["bad_words"] | {"max_count": 0})
    filtered = filter_corpus(FilterConfig(corpus=str(everything), keep="safety.bad_words == 0"), tmp_path / "filtered")
    assert [row["id"] for row in read_corpus(limited)] == [row["id"] for row in read_corpus(filtered)]
    [row] = [row for row in read_funnel(limited) if row["step"] == "bad_words"]
    assert row["dropped"] == row["reasons"]["bad_words"] == len(list(read_corpus(everything))) - row["kept"]


def test_a_missing_model_is_told_before_any_work(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        build(config, tmp_path / "out", perplexity={"models": {"en": str(tmp_path / "none")}})
    with pytest.raises((ArtifactError, InputError), match="does not exist"):
        build(config, tmp_path / "out", toxicity={"model": str(tmp_path / "none.bin")})
    with pytest.raises((ArtifactError, InputError), match="does not exist"):
        build(config, tmp_path / "out", bad_words={"lists": {"en": str(tmp_path / "none.txt")}})
    assert not (tmp_path / ".out.work").exists()
