"""Filtering a finished corpus: conditions against plain Python, nulls, refusals, and the corpus that comes out."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.corpus import document_location, explain, read_corpus, read_funnel
from data_pipeline.filter import FilterConfig, filter_corpus, parse
from millbase.artifacts import open_artifact
from millbase.config import load_config
from millbase.errors import ConfigError, InputError

Make = Callable[..., Path]


def documents(count: int = 300) -> list[dict[str, Any]]:
    """Documents with scores that are sometimes missing."""
    rng = random.Random(7)
    rows = []
    for n in range(count):
        quality = {"score": round(rng.random(), 3) if rng.random() < 0.9 else None, "bucket": rng.randint(0, 19)}
        rows.append(
            {
                "id": f"d{n}",
                "text": "x" * rng.randint(1, 400),
                "language": rng.choice(["en", "de", None]),
                "quality": quality if rng.random() < 0.95 else None,
                "safety": {"bad_words": rng.randint(0, 3)},
            }
        )
    return rows


@pytest.fixture
def corpus(corpus_from: Make, tmp_path: Path) -> Path:
    return corpus_from(tmp_path / "corpus", documents(), shards=3, warc_root="/data/")


def kept(corpus: Path, keep: str, out: Path) -> list[str]:
    filter_corpus(load_config(FilterConfig, {"corpus": str(corpus), "keep": keep, "shard_bytes": 20_000}), out)
    return [row["id"] for row in read_corpus(out)]


def score(row: dict[str, Any]) -> float | None:
    return (row["quality"] or {}).get("score")


CONDITIONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "quality.score >= 0.7": lambda d: score(d) is not None and score(d) >= 0.7,  # type: ignore[operator]
    "not quality.score < 0.7": lambda d: score(d) is not None and score(d) >= 0.7,  # type: ignore[operator]
    "0.2 < quality.score <= 0.5 and length(text) > 100": lambda d: (
        score(d) is not None and 0.2 < score(d) <= 0.5 and len(d["text"]) > 100  # type: ignore[operator]
    ),
    "quality.score is None or quality.bucket > 15": lambda d: (
        score(d) is None or (d["quality"] is not None and d["quality"]["bucket"] > 15)
    ),
    "language in ['en', 'fr'] and safety.bad_words <= 1": lambda d: (
        d["language"] == "en" and d["safety"]["bad_words"] <= 1
    ),
    "language not in ['en']": lambda d: d["language"] == "de",
    "language != 'en'": lambda d: d["language"] == "de",
    "(language == 'de' or safety.bad_words == 0) and quality is not None": lambda d: (
        (d["language"] == "de" or d["safety"]["bad_words"] == 0) and d["quality"] is not None
    ),
    "safety.bad_words > -1": lambda d: True,
}


@pytest.mark.parametrize("keep", CONDITIONS)
def test_conditions_mean_what_python_means_by_them(keep: str, corpus: Path, tmp_path: Path) -> None:
    expected = [row["id"] for row in documents() if CONDITIONS[keep](row)]
    assert kept(corpus, keep, tmp_path / "out") == expected and expected


def test_counts_add_up_and_every_document_can_be_explained(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = kept(corpus, "quality.score >= 0.5 and language == 'en' and safety.bad_words == 0", out)
    stats = open_artifact(out, kind="corpus").stats
    assert stats["read"] == 300 == len(names) + stats["dropped"]
    rows = read_funnel(out)
    assert [(row["step"], row["read"], row["kept"]) for row in rows] == [
        ("read", 300, 300),
        ("filter", 300, len(names)),
    ]
    assert set(rows[1]["reasons"]) == {"quality.score >= 0.5", "language == 'en'", "safety.bad_words == 0"}
    for row in documents():
        [told] = explain(out, row["id"])
        if row["id"] in names:
            assert told["status"] == "kept"
        elif score(row) is None or score(row) < 0.5:  # type: ignore[operator]
            assert told["reason"] == "quality.score >= 0.5" and told["threshold"] == 0.5
            assert told["value"] == (None if score(row) is None else pytest.approx(score(row), abs=1e-6))
        elif row["language"] != "en":
            assert told["reason"] == "language == 'en'" and told["value"] is told["threshold"] is None
        else:
            assert told["reason"] == "safety.bad_words == 0" and told["value"] == row["safety"]["bad_words"]
    assert document_location(out, names[0])["warc_file"] == "/data/a.warc.gz"
    assert list(open_artifact(out).inputs) == ["corpus"]


def test_a_filtered_corpus_can_be_filtered(corpus: Path, tmp_path: Path) -> None:
    kept(corpus, "quality.score >= 0.3", tmp_path / "one")
    twice = kept(tmp_path / "one", "safety.bad_words == 0", tmp_path / "two")
    assert twice == kept(corpus, "safety.bad_words == 0 and quality.score >= 0.3", tmp_path / "both")
    shards = [sorted((tmp_path / name / "data").iterdir()) for name in ("two", "both")]
    assert [file.read_bytes() for file in shards[0]] == [file.read_bytes() for file in shards[1]]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("quality.score >=", "cannot be read"),
        ("quality.skore > 1", "no column 'quality.skore'.*did you mean 'score'"),
        ("qualty.score > 1", "no column 'qualty.score'.*did you mean 'quality'"),
        ("quality.score > 'high'", "compare numbers with numbers"),
        ("language", "holds string, no truth"),
        ("quality.score == None", "write 'is None'"),
        ("__import__('os').system('true')", "not understood"),
        ("open('/etc/passwd')", "not understood"),
        ("text.__class__ == 'x'", "no column 'text.__class__'"),
        ("length(text, 1) > 3", "not understood"),
        ("quality.score + 1 > 2", "not understood"),
        ("[x for x in text]", "not understood"),
        ("language in text", "not understood"),
        ("1 < 2", "names no column"),
        ("(" * 400 + "language" + ")" * 400, "cannot be read|holds string"),
    ],
)
def test_other_expressions_are_refused(keep: str, message: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        kept(corpus, keep, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out.work"))


def test_nothing_left_is_an_error(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"drops all 300 documents, the first for 'quality.score > 2'"):
        kept(corpus, "quality.score > 2", tmp_path / "out")


def test_clauses_know_what_they_measure() -> None:
    clauses = parse("quality.score >= 0.7 and (language == 'en' or length(text) > 3) and 1 <= safety.bad_words")
    assert [(clause.measured, clause.threshold) for clause in clauses] == [
        ("quality.score", 0.7),
        (None, None),
        (None, None),
    ]
