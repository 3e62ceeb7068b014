"""Script checks, codes, short texts, second languages, thresholds: what fastText's plain answer does not give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datatrove.data import Document
from pydantic import ValidationError

from data_pipeline.language import LanguageConfig, LanguageFilter, find_model, identify
from data_pipeline.language import identify as package_identify
from data_pipeline.language.codes import canonical, code_of
from data_pipeline.language.identification import Guess, predict
from data_pipeline.language.mixed import second_language
from data_pipeline.language.scripts import fits, main_script, scripts_of
from data_pipeline.quality import fit
from millbase.errors import ConfigError, InputError

ENGLISH = "The river ran through the valley, and the people who lived there built a bridge of stone. "
GERMAN = "Der Fluss fließt durch das Tal, und die Leute, die dort wohnen, bauten eine Brücke aus Stein. "
JAPANESE = "川は谷を流れ、そこに住む人々は石の橋を架けました。"
CHINESE = "河流穿过山谷，住在那里的人们建造了一座石桥。"
RUSSIAN = "Река текла через долину, и люди, которые там жили, построили каменный мост. "


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("__label__en", ("en", None)),
        ("__label__als", ("als", None)),
        ("__label__eng_Latn", ("en", "Latn")),
        ("__label__als_Latn", ("sq", "Latn")),
        ("__label__cmn_Hani", ("zh", "Hani")),
        ("__label__nob_Latn", ("no", "Latn")),
        ("__label__arz_Arab", ("arz", "Arab")),
        ("__label__zxx_Latn", ("zxx", "Latn")),
    ],
)
def test_labels_of_other_models(label: str, expected: tuple[str, str | None]) -> None:
    assert code_of(label) == expected


def test_scripts() -> None:
    assert fits(ENGLISH, "en") and fits("naïve café", "fr") and not fits(ENGLISH, "ru") and not fits(RUSSIAN, "en")
    assert fits(JAPANESE, "ja") and not fits(CHINESE, "ja") and fits(CHINESE, "zh") and not fits(JAPANESE, "zh")
    assert fits("12 34 ÷ 5", "ru") and not fits("12 abc", "ru")
    assert fits(ENGLISH * 20 + CHINESE, "en") and fits(CHINESE * 3 + ENGLISH, "zh")
    # a label that names its script is held to it: Serbian in Latin letters
    assert fits("Reka je tekla kroz dolinu, žuta.", "sr", "Latn") and not fits(RUSSIAN, "sr", "Latn")
    assert scripts_of("ja", "Jpan") == {"Kana", "Hani"} and scripts_of("sr") == {"Cyrl", "Latn"}
    assert main_script(JAPANESE)[0] == "Kana" and main_script(RUSSIAN)[0] == "Cyrl" and main_script("12")[0] is None


def test_a_wrong_script_is_corrected_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import data_pipeline.language.identification as module
    from data_pipeline.language import identify as _  # noqa: F401

    class Model:
        def __init__(self, *labels: str) -> None:
            self.labels = labels

        def predict(self, text: str, k: int = 1) -> list[tuple[str, float]]:
            return [(f"__label__{label}", score) for label, score in zip(self.labels[:k], (0.5, 0.3, 0.1, 0.05, 0.05))]

    monkeypatch.setattr(module, "load_model", lambda path: Model("en", "ru", "uk", "bg", "mk"))
    assert module.identify(RUSSIAN, "m") == Guess("ru", 0.3), "the best candidate that fits"
    assert module.identify(RUSSIAN, "m", check_script=False) == Guess("en", 0.5)
    monkeypatch.setattr(module, "load_model", lambda path: Model("en", "fr", "de", "es", "it"))
    assert module.identify("Ο ποταμός κυλούσε μέσα από την κοιλάδα", "m") == Guess("el", 1.0), "Greek has one language"
    assert module.identify(RUSSIAN, "m") == Guess("und", 0.0), "Cyrillic has many"


def test_short_texts_are_less_sure() -> None:
    model = find_model(None)
    plain = predict(["Guten Morgen"], model)[0][0]
    assert identify("Guten Morgen", model, 40).score == pytest.approx(plain.score * 11 / 40, abs=1e-5)
    assert identify(GERMAN, model, 40) == predict([GERMAN], model)[0][0]
    assert identify("石の橋を架けました。", model, 27).score == predict(["石の橋を架けました。"], model)[0][0].score
    assert package_identify("", model, 40).score == 0.0


def run(text: str, **changes: object) -> tuple[str | None, Document, LanguageFilter]:
    step = LanguageFilter(LanguageConfig.model_validate(changes))
    document = Document(text=text, id="x", metadata={})
    drop = step.judge(document)
    return (drop.reason if drop else None), document, step


def test_second_language_by_paragraphs() -> None:
    reason, document, _ = run("\n".join([ENGLISH, ENGLISH, ENGLISH, GERMAN]))
    assert reason is None
    share = len(GERMAN) / (3 * len(ENGLISH) + len(GERMAN))
    assert (document.metadata["second_language"], document.metadata["second_language_share"]) == (
        "de",
        pytest.approx(share, abs=1e-3),
    )
    assert run("\n".join([ENGLISH] * 4))[1].metadata["second_language"] is None
    assert "second_language" not in run("\n".join([ENGLISH, GERMAN]), mixed=False)[1].metadata
    assert second_language(ENGLISH, "en", find_model(None)) == (None, 0.0), "one paragraph"
    assert second_language("\n".join(["Menü", "Suche"] * 20 + [ENGLISH] * 2), "en", find_model(None)) == (None, 0.0)


def test_thresholds_by_language_and_measures() -> None:
    languages = ["en", "de"]
    assert run(GERMAN, languages=languages)[0] is None
    assert run(GERMAN, languages=languages, min_scores={"deu": 1.0})[0] == "unsure"
    assert run(ENGLISH, languages=languages, min_scores={"deu": 1.0})[0] is None
    _, document, step = run(RUSSIAN, languages=languages, min_score=1.0)
    measures = {measure.rule: measure for measure in step.measure(document)}
    assert (measures["language"].value, measures["language"].threshold) == ("ru", "en, de")
    assert not measures["language"].passed and not measures["unsure"].passed and measures["unsure"].threshold == 1.0


@pytest.mark.parametrize(
    ("code", "hint"), [("english", "'en'"), ("pt-BR", "'pt'"), ("enn", "'en'"), ("germann", "'de'")]
)
def test_unknown_codes(code: str, hint: str) -> None:
    with pytest.raises(ValidationError, match=f"languages: unknown language '{code}'; did you mean {hint}"):
        LanguageConfig(languages=[code])
    with pytest.raises(ValidationError, match="min_scores"):
        LanguageConfig(min_scores={code: 0.5})


def test_other_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes are checked against the labels of the model that is used, whose own form of them is mapped."""
    examples = tmp_path / "examples.txt"
    examples.write_text("__label__eng_Latn the and of\n__label__deu_Latn der die und\n" * 20, encoding="utf-8")
    options = json.dumps({"dim": 4, "epoch": 30, "lr": 0.5, "minCount": 1, "bucket": 10})
    command = [sys.executable, "-P", fit.__file__, str(examples), str(tmp_path / "m.bin"), options]
    subprocess.run(command, env=os.environ | fit.MALLOC_ENVIRONMENT, check=True)  # deterministic only in such a process
    config = LanguageConfig(model=str(tmp_path / "m.bin"), languages=["de"], min_score=0, mixed=False)
    document = Document(text="und die der die und", id="x", metadata={})
    assert LanguageFilter(config).judge(document) is None and document.metadata["language"] == "de"
    with pytest.raises(ConfigError, match=r"language\.languages: unknown language 'fr'"):
        LanguageFilter(config.model_copy(update={"languages": ["fr"]}))
    (tmp_path / "no.bin").write_bytes(b"no model")
    with pytest.raises(InputError, match="no fastText model"):
        LanguageFilter(LanguageConfig(model=str(tmp_path / "no.bin")))


def test_canonical_codes() -> None:
    assert [canonical(code) for code in ("eng", "en", "nb", "cmn", "xxx")] == ["en", "en", "no", "zh", "xxx"]
