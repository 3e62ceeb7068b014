"""Bad words against datatrove's filter, toxicity by fastText models, limits, and bad lists and models."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import c4_filters

from data_pipeline.base import CorpusStep
from data_pipeline.quality.fit import run_fit
from data_pipeline.safety import BadWordsConfig, BadWordsFilter, ToxicityConfig, ToxicityFilter
from data_pipeline.safety.words import WordList, load_words
from millbase.errors import InputError


def words_file(path: Path, words: list[str]) -> str:
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return str(path)


def document(text: str, language: str | None = "en", name: str = "a") -> Document:
    return Document(text, name, metadata={"language": language, "url": "", "source": "", "warc_file": "",
                                          "warc_offset": 0, "warc_length": 0, "position": 0})  # fmt: skip


def kept(step: CorpusStep, documents: list[Document]) -> list[str]:
    return [each.id for each in step.run(iter(documents))]


def test_words_stand_alone_and_phrases_count_once() -> None:
    words = WordList(frozenset({"ass", "bad ass", "a$$", "🖕", "s&m"}), "en")
    assert words.count("A class of grass, assets.") == (0, 0)
    assert words.count("ASS! (ass) bad_ass") == (2, 6)
    assert words.count("a bad ass, an ass") == (2, 10)
    assert words.count("a$$ 🖕🖕 S&M s&mx") == (4, 8)
    assert words.count("") == (0, 0)


def test_languages_without_spaces_match_anywhere() -> None:
    assert WordList(frozenset({"交配", "配"}), "zh").count("他们交配了") == (1, 2)
    assert WordList(frozenset({"交配"}), "en").count("他们交配了") == (0, 0)


def test_limits_and_columns(tmp_path: Path) -> None:
    path = words_file(tmp_path / "en.txt", ["darn"])
    free = BadWordsFilter(BadWordsConfig(lists={"en": path}))
    page = document("Darn. " + "word " * 19)
    assert kept(free, [page]) == ["a"]
    assert page.metadata["safety"] == {"bad_words": 1, "bad_word_share": pytest.approx(4 / 101, abs=1e-6)}
    strict = BadWordsFilter(BadWordsConfig(lists={"en": path}, max_count=0))
    milder = BadWordsFilter(BadWordsConfig(lists={"en": path}, max_share=0.1))
    documents = [
        document("darn darn", name="a"),
        document("fine", name="b"),
        document("darn it" + " word" * 20, name="c"),
    ]
    assert kept(strict, documents) == ["b"]
    assert kept(milder, documents) == ["b", "c"]
    assert [(row["reason"], row["value"], row["threshold"]) for row in strict.log.rows] == [
        ("bad_words", 2, 0),
        ("bad_words", 1, 0),
    ]
    rules = {each.rule: (each.value, each.passed) for each in strict.measure(document("darn darn"))}
    assert rules == {"bad_words": (2, False), "bad_word_share": (pytest.approx(8 / 9, abs=1e-6), True)}


def test_a_language_without_a_list_has_no_count(tmp_path: Path) -> None:
    step = BadWordsFilter(BadWordsConfig(lists={"en": words_file(tmp_path / "w", ["darn"])}, max_count=0))
    foreign, unknown = document("darn", "de", "a"), document("darn", None, "b")
    assert kept(step, [foreign, unknown]) == ["a"], "without a language the default list is taken"
    assert "safety" not in foreign.metadata


def test_a_fraction_is_kept_by_id_alone(tmp_path: Path) -> None:
    path = words_file(tmp_path / "w", ["darn"])
    documents = [document("darn", name=f"id{number}") for number in range(2000)]
    step = BadWordsFilter(BadWordsConfig(lists={"en": path}, max_count=0, keep_fraction=0.1))
    names = kept(step, documents)
    assert 140 < len(names) < 260
    assert sorted(kept(step, documents[::-1])) == sorted(names)


@pytest.mark.parametrize("language", ["en", "zh", "ru", "ja"])
def test_same_decisions_as_datatrove(
    language: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over real pages of every language, for an English list finds words in Japanese pages too."""
    entries = json.loads(gzip.open(real_data / "lists" / "ldnoobw" / f"{language}.json.gz", "rt").read())
    plain = words_file(tmp_path / "list", [entry.lower() for entry in entries])
    monkeypatch.setattr(c4_filters, "cached_asset_path_or_download", lambda *_, **__: plain)
    theirs = c4_filters.C4BadWordsFilter()
    ours = BadWordsFilter(BadWordsConfig(lists={language: plain}, max_count=0))
    texts = []
    for name in ("wcxb_test", "daniel_waddle", "fundus_tests", "formasaurus_pages_nogold", "gne_tests_zh_nogold"):
        with gzip.open(real_data / "extraction" / f"{name}.gold.jsonl.gz", "rt") as lines:
            texts += [text[:3000] for line in lines if (text := json.loads(line).get("text"))][:120]
    texts += [f"{left}{entry}{right}" for entry in entries[:60] for left, right in (("", ""), ("x", ""), ("- ", "."))]
    found = 0
    for text in texts:
        expected = theirs.filter(document(text, language)) is True
        assert (ours.judge(document(text, language)) is None) == expected, text
        found += not expected
    assert found > 60 and len(texts) > 300


def toxicity_model(folder: Path, labels: tuple[str, str] = ("toxic", "fine")) -> str:
    lines = [f"__label__{labels[0]} awful stupid idiots number{n}" for n in range(60)]
    lines += [f"__label__{labels[1]} lovely garden flowers number{n}" for n in range(60)]
    (folder / "train.txt").write_text("\n".join(lines))
    options = {"dim": 4, "bucket": 1000, "epoch": 50, "lr": 0.5}
    run_fit(folder / "train.txt", folder / "toxic.bin", options)
    return str(folder / "toxic.bin")


def test_toxicity_scores_documents_and_lines(tmp_path: Path) -> None:
    path = toxicity_model(tmp_path)
    bad, good = document("awful stupid idiots", name="bad"), document("lovely garden flowers", name="good")
    step = ToxicityFilter(ToxicityConfig(model=path, max_score=0.5))
    assert kept(step, [bad, good]) == ["good"]
    assert bad.metadata["safety"]["toxicity"] > 0.8 > 0.2 > good.metadata["safety"]["toxicity"]
    [row] = [row for row in step.log.rows if row["id"] == "bad"]
    assert row["reason"] == "toxicity" and row["threshold"] == 0.5 and row["value"] > 0.8
    mixed = "lovely garden flowers\n" * 30 + "awful stupid idiots"
    whole, lines = document(mixed), document(mixed)
    step.judge(whole)
    ToxicityFilter(ToxicityConfig(model=path, unit="line")).judge(lines)
    assert lines.metadata["safety"]["toxicity"] > 0.8 > whole.metadata["safety"]["toxicity"]


def test_bad_models_and_lists_are_told_at_once(tmp_path: Path) -> None:
    path = toxicity_model(tmp_path, ("nsfw", "sfw"))
    with pytest.raises(InputError, match=r"'__label__toxic' is unknown .* it has '__label__n?sfw', '__label__n?sfw'"):
        ToxicityFilter(ToxicityConfig(model=path))
    with pytest.raises(InputError, match="does not exist"):
        ToxicityFilter(ToxicityConfig(model=str(tmp_path / "no.bin")))
    (tmp_path / "damaged.bin").write_bytes(b"no model at all, only text")
    with pytest.raises(InputError, match="no fastText classifier"):
        ToxicityFilter(ToxicityConfig(model=str(tmp_path / "damaged.bin")))
    with pytest.raises(InputError, match="does not exist"):
        BadWordsFilter(BadWordsConfig(lists={"en": str(tmp_path / "none.txt")}))
    (tmp_path / "empty.txt").write_text("sm\n\n")
    with pytest.raises(InputError, match="holds no word"):
        BadWordsFilter(BadWordsConfig(lists={"en": str(tmp_path / "empty.txt")}))
    (tmp_path / "odd.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="other things than words"):
        BadWordsFilter(BadWordsConfig(lists={"en": str(tmp_path / "odd.json")}))
    (tmp_path / "cut.json").write_text('["a", "b')
    with pytest.raises(InputError, match="cannot be read"):
        BadWordsFilter(BadWordsConfig(lists={"en": str(tmp_path / "cut.json")}))


def test_published_lists_load(real_data: Path) -> None:
    for file in sorted((real_data / "lists" / "ldnoobw").glob("*.json.gz")):
        language = file.name.partition(".")[0]
        load_words(str(file), language, frozenset()).count("An innocent sentence, 一句普通的话。")
