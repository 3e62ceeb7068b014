"""Language identification against labelled sentences, and the choice of the model file."""

import gzip
import json
import random
from collections import defaultdict
from pathlib import Path

import pytest
from datatrove.data import Document

from data_pipeline.language import LanguageConfig, LanguageFilter, find_model
from data_pipeline.language.identification import identify
from millbase.errors import InputError

ENGLISH = "The river ran through the valley, and the people who lived there built a bridge of stone.\n"


def judge(text: str, **changes: object) -> tuple[str | None, Document]:
    document = Document(text=text, id="x", metadata={})
    drop = LanguageFilter(LanguageConfig.model_validate(changes)).judge(document)
    return (drop.reason if drop else None), document


def test_wanted_and_unwanted_languages() -> None:
    reason, document = judge(ENGLISH)
    assert reason is None and document.metadata["language"] == "en" and document.metadata["language_score"] > 0.8
    assert judge("Der Fluss fließt durch das Tal, und die Leute bauten eine Brücke.")[0] == "de"
    assert judge("Der Fluss fließt durch das Tal, und die Leute bauten eine Brücke.", languages=["en", "de"])[0] is None
    assert judge("Der Fluss fließt durch das Tal, und die Leute bauten eine Brücke.", languages=None)[0] is None
    assert judge(ENGLISH, min_score=1.0)[0] == "unsure"


def test_only_the_beginning_counts() -> None:
    german = "Der Fluss fließt durch das Tal, und die Leute bauten eine Brücke. " * 100
    assert judge(ENGLISH * 10 + german, characters=800)[0] is None
    assert judge(ENGLISH * 10 + german, characters=8000)[0] == "de"


def test_model_files(tmp_path: Path) -> None:
    assert find_model(None).endswith("lid.176.ftz")
    with pytest.raises(InputError, match=r"language\.model.*nowhere.*does not exist"):
        find_model(str(tmp_path / "nowhere"))


def test_accuracy_on_labelled_sentences(real_data: Path) -> None:
    """Documents of ten sentences in big languages: nearly all are identified."""
    sentences: dict[str, list[str]] = defaultdict(list)
    with gzip.open(real_data / "langid" / "lingua_sentences.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            sentences[row["lang"]].append(row["text"])
    random_ = random.Random(0)
    languages = [
        lang for lang in ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "ja", "zh", "ar") if lang in sentences
    ]
    assert len(languages) >= 10
    right = sum(
        identify(" ".join(random_.sample(sentences[lang], 10)), find_model(None))[0] == lang
        for lang in languages
        for _ in range(10)
    )
    assert right / (10 * len(languages)) >= 0.97
