"""Decontamination in a corpus build and of a finished corpus: the same decisions, whole or not at all."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.corpus import CorpusConfig, build_corpus, explain, read_corpus, read_funnel
from data_pipeline.decontaminate import DecontaminateCorpusConfig, decontaminate_corpus, measure_contamination
from data_pipeline.decontaminate import corpus as module
from millbase.artifacts import open_artifact, work_directory
from millbase.config import load_config
from millbase.errors import ConfigError, InputError

QUESTION = (
    "A farmer has seventeen sheep and all but nine of them run away across the bridge before the evening market opens; "
    "how many sheep does the farmer still have when the music ends?"
)

WORDS = (
    "the of and to in that was with have been which from they were their would river mountain village history century "
    "people water several important small winter summer garden stone school family children country answer question"
)


def prose(seed: str, sentences: int = 10) -> str:
    draw = random.Random(seed)
    made = [[draw.choice(WORDS.split()) for _ in range(12)] + [str(draw.random())] for _ in range(sentences)]
    return " ".join(" ".join(words).capitalize() + "." for words in made)


@pytest.fixture
def evals(tmp_path: Path) -> str:
    path = tmp_path / "quiz.jsonl"
    rows = [{"question": QUESTION, "answer": "nine"}, {"question": "Too short?", "answer": "yes"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def crawl(new_warc: Any, page: Any, tmp_path: Path) -> Path:
    for name in ("one", "two"):
        builder = new_warc().prose(6, start=0 if name == "one" else 50, host=f"{name}.example")
        texts = [prose(f"{name} before"), QUESTION.upper(), prose(f"{name} after")]
        builder.page(f"http://{name}.example/quiz", page(texts, "Quiz"))
        builder.write(tmp_path / f"crawl/{name}.warc.gz", seed=len(name))
    return tmp_path


def build(crawl: Path, out: Path, **decontaminate: Any) -> Path:
    sources = [{"name": "web", "inputs": str(crawl / "crawl/*.warc.gz")}]
    fields = {"sources": sources, "decontaminate": decontaminate, "workers": 1}
    return build_corpus(load_config(CorpusConfig, fields), out)


def contents(corpus: Path) -> dict[str, bytes]:
    files = [f for f in corpus.rglob("*") if f.is_file() and f.name not in ("manifest.json", "timings.json")]
    return {file.relative_to(corpus).as_posix(): file.read_bytes() for file in files}


def test_a_build_drops_contaminated_pages_and_says_why(crawl: Path, evals: str) -> None:
    corpus = build(crawl, crawl / "corpus", sets=[{"name": "quiz", "path": evals}])
    assert len(list(read_corpus(corpus))) == 12
    (row,) = explain(corpus, "http://one.example/quiz")
    assert (row["step"], row["reason"], row["value"]) == ("decontaminate", "quiz", 1.0)
    assert row["detail"].startswith("item 0: 'A FARMER HAS")
    funnel = {row["step"]: row for row in read_funnel(corpus)}
    assert list(funnel)[-1] == "decontaminate" and funnel["decontaminate"]["reasons"] == {"quiz": 2}
    manifest = open_artifact(corpus)
    assert "evaluation_sets.0" in manifest.inputs and manifest.stats["documents"] == 12
    report = json.loads((corpus / "contamination.json").read_text())
    assert report["documents"]["dropped"] == 2
    assert report["sets"][0]["items"] == 2 and report["sets"][0]["too_short"] == 1


def test_removal_keeps_the_rest_of_the_page(crawl: Path, evals: str) -> None:
    settings = {"action": "remove", "context_characters": 10, "min_piece_characters": 50}
    corpus = build(crawl, crawl / "corpus", sets=[{"name": "quiz", "path": evals}], **settings)
    documents = {document["url"]: document for document in read_corpus(corpus)}
    assert len(documents) == 14
    edited = documents["http://two.example/quiz"]
    assert "SHEEP" not in edited["text"] and len(QUESTION) < edited["decontaminated_characters"] < len(QUESTION) + 60
    assert len(edited["text"]) > 500
    assert documents["http://two.example/page/50"]["decontaminated_characters"] is None
    manifest = open_artifact(corpus)
    assert manifest.stats["text_bytes"] == sum(len(d["text"].encode()) for d in documents.values())


def test_a_finished_corpus_comes_out_as_the_build_would_have_made_it(crawl: Path, evals: str) -> None:
    settings = {"sets": [{"name": "quiz", "path": evals}], "action": "remove", "min_piece_characters": 50}
    built = build(crawl, crawl / "built", **settings)
    plain = build(crawl, crawl / "plain")
    config = load_config(DecontaminateCorpusConfig, {"corpus": str(plain), "workers": 1, **settings})
    derived = decontaminate_corpus(config, crawl / "derived")
    assert list(read_corpus(derived)) == list(read_corpus(built))
    assert (derived / "contamination.json").read_bytes() == (built / "contamination.json").read_bytes()
    assert measure_contamination(config) == json.loads((built / "contamination.json").read_text())
    assert open_artifact(derived).inputs["corpus"]["digest"] == open_artifact(plain).digest


def documents(count: int) -> list[dict[str, Any]]:
    text = [f"Document {n} about nothing in particular. " * 5 + QUESTION * (n % 9 == 0) for n in range(count)]
    return [{"id": f"d{n}", "text": text[n]} for n in range(count)]


def test_workers_and_interruptions_make_no_difference(
    corpus_from: Callable[..., Path], evals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_from(tmp_path / "corpus", documents(60), shards=3)
    settings = {"corpus": str(corpus), "sets": [{"name": "quiz", "path": evals}]}
    config = load_config(DecontaminateCorpusConfig, settings | {"workers": 1})
    expected = contents(decontaminate_corpus(config, tmp_path / "one"))
    assert contents(decontaminate_corpus(config.model_copy(update={"workers": 2}), tmp_path / "two")) == expected

    find, done = module._find_in_shard, []

    def stop_at_the_third(*arguments: Any) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(find(*arguments))

    monkeypatch.setattr(module, "_find_in_shard", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        decontaminate_corpus(config, tmp_path / "three")
    assert not (tmp_path / "three").exists() and work_directory(tmp_path / "three").exists()
    done.clear()
    assert contents(decontaminate_corpus(config, tmp_path / "three")) == expected
    assert len(done) == 1, "finished shards were read again"


def test_mistakes_are_named(corpus_from: Callable[..., Path], evals: str, tmp_path: Path) -> None:
    corpus = corpus_from(tmp_path / "corpus", documents(1))
    with pytest.raises(ConfigError, match="no evaluation sets: give some"):
        decontaminate_corpus(DecontaminateCorpusConfig(corpus=str(corpus)), tmp_path / "out")
    config = load_config(
        DecontaminateCorpusConfig, {"corpus": str(corpus), "sets": [{"name": "q", "path": evals}], "workers": 1}
    )
    with pytest.raises(InputError, match="step 'decontaminate' drops all 1 documents, the first for 'q'"):
        decontaminate_corpus(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
