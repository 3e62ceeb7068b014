"""Perplexity models: training, given models, buckets, CCNet's computation, the step, and errors."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from datatrove.data import Document
from datatrove.utils.perplexity import KenlmModel

from data_pipeline.perplexity import PerplexityConfig, PerplexityFilter
from data_pipeline.perplexity.model import PerplexityModel
from data_pipeline.perplexity.tokens import Tokeniser, normalise
from data_pipeline.perplexity.train import train_perplexity
from data_pipeline.perplexity.train_config import PerplexityModelConfig
from millbase.artifacts import open_artifact
from millbase.config import load_config
from millbase.errors import ArtifactError, ConfigError, InputError

kenlm = pytest.importorskip("kenlm", reason="the package kenlm is not installed (extra `perplexity`)")

TEXT = "the river runs slowly through a valley of old stone houses and many people walk there in summer"
WORDS = TEXT.split(" ")


def prose(rng: random.Random) -> str:
    start = rng.randrange(len(WORDS))
    return " ".join(WORDS[(start + n) % len(WORDS)] for n in range(rng.randint(8, 30))) + "."


def junk(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) if rng.random() < 0.5 else f"zz{rng.randint(0, 50)}" for _ in range(20))


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    rng = random.Random(0)
    good = write(tmp_path / "good.jsonl", [f"{n} {prose(rng)}" for n in range(300)])
    mixed = [f"{n} {prose(rng) if n % 2 else junk(rng)}" for n in range(200)]
    return {"texts": [{"path": good}], "sample": [{"path": write(tmp_path / "sample.jsonl", mixed)}], "order": 3}


def train(config: dict[str, Any], out: Path) -> Path:
    return train_perplexity(load_config(PerplexityModelConfig, config), out)


def document(text: str, language: str | None = "en") -> Document:
    return Document(text, "a", metadata={"language": language})


def test_training_sets_buckets_on_the_sample(config: dict[str, Any], tmp_path: Path) -> None:
    out = train(config, tmp_path / "model")
    model, stats = PerplexityModel.load(out), open_artifact(out, kind="perplexity-model").stats
    rng = random.Random(9)
    good, bad = ([model.perplexity(make(rng)) for _ in range(40)] for make in (prose, junk))
    assert max(good) < min(bad)
    assert {model.bucket(value) for value in good} == {"head"} or max(good) <= model.tail
    assert {model.bucket(value) for value in bad} == {"tail"}
    assert stats["head"] == stats["percentiles"][29] and stats["tail"] == stats["percentiles"][59]
    assert stats["sampled"] == 200 and len(stats["ngrams"]) == 3
    again = train(config, tmp_path / "again")
    assert (out / "model.lm").read_bytes() == (again / "model.lm").read_bytes()


def test_a_given_model_is_taken_as_it_is(config: dict[str, Any], tmp_path: Path) -> None:
    first = train(config, tmp_path / "model")
    given = {"model": str(first / "model.lm"), "sample": config["sample"], "head_percentile": 50}
    second = PerplexityModel.load(train(given, tmp_path / "given"))
    text = prose(random.Random(1))
    assert second.perplexity(text) == PerplexityModel.load(first).perplexity(text)
    assert second.head > PerplexityModel.load(first).head


def test_perplexity_is_ccnets(config: dict[str, Any], tmp_path: Path) -> None:
    """datatrove's KenlmModel is CCNet's computation; given our tokeniser it must say the same."""
    out = train(config, tmp_path / "model")
    reference = KenlmModel("none", "en")
    reference._model = kenlm.Model(str(out / "model.lm"))
    tokeniser = Tokeniser(None, normalised=False)
    reference._tokenizer = type("Words", (), {"tokenize": staticmethod(tokeniser.line)})()
    model = PerplexityModel.load(out)
    for text in (prose(random.Random(2)), junk(random.Random(3)), "A – “quote”, Éclair 123…", "one"):
        assert round(model.perplexity(text), 1) == reference.get_perplexity(text)


def test_normalisation_is_ccnets() -> None:
    reference = KenlmModel("none", "en")
    for text in ("Déjà vu — “quoted” … 1％", "Größe: 7–8 km²", "你好，世界！（测试）", "Naïve\tcafé №5 ► end"):
        assert normalise(text) == reference.normalize(text)
    assert normalise("In 2024: 1,5") == "in 0000: 0,0", "each digit, as CCNet; datatrove makes one 0 of a number"


def test_sentencepiece_tokens(config: dict[str, Any], tmp_path: Path) -> None:
    spm = pytest.importorskip("sentencepiece", reason="the package sentencepiece is not installed (extra `perplexity`)")
    rng = random.Random(0)
    (tmp_path / "text.txt").write_text("\n".join(prose(rng) for _ in range(300)))
    spm.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "sp"), vocab_size=40, minloglevel=2
    )
    pieces = str(tmp_path / "sp.model")
    out = train(config | {"sentencepiece": pieces}, tmp_path / "model")
    processor = spm.SentencePieceProcessor(model_file=pieces)
    expected = " ".join(processor.encode("the river runs", out_type=str))
    assert Tokeniser(pieces, True).line("The  River\nruns") == expected
    Path(pieces).unlink()
    model = PerplexityModel.load(out)
    assert model.perplexity(prose(rng)) < model.perplexity(junk(rng))


def test_words_of_scripts_without_spaces_are_single_characters() -> None:
    assert Tokeniser(None, True).line("Hello,世界 100") == "hello , 世 界 000"
    assert Tokeniser(None, True).line(" \n ") == ""


def test_the_step_scores_and_filters(config: dict[str, Any], tmp_path: Path) -> None:
    path = str(train(config, tmp_path / "model"))
    rng = random.Random(4)
    good, bad, foreign = document(prose(rng)), document(junk(rng)), document(junk(rng), "fi")
    free = PerplexityFilter(PerplexityConfig(models={"en": path}))
    assert all(free.judge(each) is None for each in (good, bad, foreign, document("")))
    assert bad.metadata["quality"]["perplexity_bucket"] == "tail" and "quality" not in foreign.metadata
    strict = PerplexityFilter(PerplexityConfig(models={"en": path}, keep="middle"))
    drop = strict.judge(document(bad.text))
    assert drop is not None and drop.reason == "perplexity"
    assert drop.value == bad.metadata["quality"]["perplexity"] and drop.threshold == PerplexityModel.load(path).tail
    low = PerplexityFilter(PerplexityConfig(models={"en": path}, min_perplexity=10_000))
    drop = low.judge(document(good.text))
    assert drop is not None and drop.reason == "low_perplexity"
    assert [measure.rule for measure in low.measure(document(good.text))] == ["perplexity", "low_perplexity"]


def test_mistakes_are_told(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either 'texts' to train on or a 'model'"):
        load_config(PerplexityModelConfig, config | {"model": "x.arpa"})
    with pytest.raises(ConfigError, match="nothing to measure"):
        load_config(PerplexityModelConfig, config | {"sample": []})
    with pytest.raises(ConfigError, match="prune takes a 0"):
        load_config(PerplexityModelConfig, config | {"prune": [1]})
    few = write(tmp_path / "few.jsonl", ["one text"])
    with pytest.raises(InputError, match="1 sampled texts set no buckets"):
        train(config | {"sample": [{"path": few}]}, tmp_path / "model")
    (tmp_path / "bad.arpa").write_text("no model")
    with pytest.raises(InputError, match="is no n-gram model"):
        train({"model": str(tmp_path / "bad.arpa"), "sample": config["sample"]}, tmp_path / "model")
    with pytest.raises(InputError, match="is no SentencePiece model"):
        train(config | {"sentencepiece": str(tmp_path / "bad.arpa")}, tmp_path / "model")
    with pytest.raises(ArtifactError, match="does not exist"):
        PerplexityFilter(PerplexityConfig(models={"en": str(tmp_path / "none")}))
    path = train(config, tmp_path / "damaged")
    with (path / "model.lm").open("a") as file:
        file.write("x")
    with pytest.raises(ArtifactError, match="changed since it was written"):
        PerplexityFilter(PerplexityConfig(models={"en": str(path)}))


def test_prose_is_less_perplexing_than_lists_on_real_text(real_data: Path, tmp_path: Path) -> None:
    """A model of books gives other books a lower perplexity than shuffled words of the same books."""
    with gzip.open(real_data / "text" / "classic_books_en.jsonl.gz", "rt") as lines:
        books = [json.loads(line)["text"][20_000:60_000] for _, line in zip(range(6), lines, strict=False)]
    parts = [book[start : start + 2000] for book in books for start in range(0, 40_000, 2000)]
    rng = random.Random(0)
    shuffled = [" ".join(rng.sample(part.split(), len(part.split()))) for part in parts[100:]]
    good, sample = write(tmp_path / "good.jsonl", parts[:100]), write(tmp_path / "s.jsonl", parts)
    model = PerplexityModel.load(
        train({"texts": [{"path": good}], "sample": [{"path": sample}], "order": 3}, tmp_path / "model")
    )
    worse = sum(model.perplexity(b) > model.perplexity(a) for a, b in zip(parts[100:], shuffled, strict=True))
    assert worse >= len(shuffled) - 1
