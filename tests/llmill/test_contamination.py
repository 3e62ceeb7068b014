"""A planted item is found, a clean one is not, and the score without it stands beside the score with it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from evaluation import statistics
from evaluation.scores import make_score, write_items
from llmill.contamination import ContaminationConfig, measure
from llmill.contamination.measure import read_contamination
from llmill.contamination.show import print_contamination
from millbase.artifacts import create_artifact
from millbase.errors import ArtifactError
from tests.data_pipeline.conftest import write_corpus as write_rows

WORDS = [
    f"{a}{b}" for a in ("ba", "ko", "mi", "ru", "te", "sa", "ne", "li") for b in ("ran", "dol", "ket", "mus", "vin")
]


def sentence(seed: str, words: int = 24) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def write_corpus(path: Path, texts: list[str]) -> str:
    """A corpus artifact with these documents."""
    return str(write_rows(path, [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)]))


def write_scores(path: Path, items: list[dict[str, Any]], **details: Any) -> str:
    with create_artifact(path, kind="scores", config=ContaminationConfig(scores="s", corpus="c")) as artifact:
        (artifact.path / "items").mkdir()
        write_items(artifact.path / "items/quiz.jsonl", items)
        score = make_score(
            "quiz",
            "acc",
            statistics.share([item["scores"]["acc"] for item in items]),
            higher_is_better=True,
            items="items/quiz.jsonl",
            details=details,
        )
        document = {"schema": 1, "model": {"digest": "d"}, "scores": [vars(score)]}
        (artifact.path / "scores.json").write_text(json.dumps(document))
    return str(path)


def items(count: int = 20) -> list[dict[str, Any]]:
    """Questions of which the even ones are answered right."""
    return [
        {
            "id": i,
            "prompt_hash": "p",
            "prompt": sentence(f"q{i}"),
            "target": f"answer {i}",
            "scores": {"acc": float(i % 2 == 0)},
        }
        for i in range(count)
    ]


def corpus_with(tmp_path: Path, planted: list[str], documents: int = 200) -> str:
    texts = [" ".join(sentence(f"doc{i}.{j}") for j in range(8)) for i in range(documents)]
    for number, text in enumerate(planted):
        texts[7 * number] = f"{sentence(f'before{number}')} {text.upper()}! {sentence(f'after{number}')}"
    return write_corpus(tmp_path / "corpus", texts)


def test_planted_items_are_found_and_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = items()
    planted = [rows[i]["prompt"] for i in (0, 2, 5)]
    config = ContaminationConfig(scores=write_scores(tmp_path / "s", rows), corpus=corpus_with(tmp_path, planted))
    found = read_contamination(measure(config, tmp_path / "out"))
    assert found["items_found"] == {"items/quiz.jsonl": ["0", "2", "5"]}
    assert len(found["items_clean"]["items/quiz.jsonl"]) == 17
    (row,) = found["scores"]
    assert row["contaminated"]["value"] == pytest.approx(3 / 20) and row["value"] == pytest.approx(10 / 20)
    assert row["clean"]["value"] == pytest.approx(8 / 17) and row["clean"]["n"] == 17
    low, high = statistics.wilson(8 / 17, 17)
    assert (row["clean"]["low"], row["clean"]["high"]) == pytest.approx((low, high))
    print_contamination(tmp_path / "out")
    shown = capsys.readouterr().out
    assert "0.15" in shown and "0.47" in shown


def test_a_document_that_nearly_is_the_item_is_found_by_minhash(tmp_path: Path) -> None:
    """Words exchanged here and there leave no run of eight, but a third of the shingles of five."""
    rows = items(6)
    rows[3]["prompt"] = sentence("long", 120)
    words = f"{rows[3]['prompt']} {rows[3]['target']}".split()
    words[::40] = ["other"] * len(words[::40])
    corpus = write_corpus(tmp_path / "corpus", [sentence("x", 100), " ".join(words)])
    scores = write_scores(tmp_path / "s", rows)
    runs_alone = ContaminationConfig(scores=scores, corpus=corpus, minhash_similarity=None, method="ngram", n=50)
    assert read_contamination(measure(runs_alone, tmp_path / "a"))["items_found"] == {"items/quiz.jsonl": []}
    both = ContaminationConfig(scores=scores, corpus=corpus, minhash_similarity=0.6, method="ngram", n=50)
    assert read_contamination(measure(both, tmp_path / "b"))["items_found"] == {"items/quiz.jsonl": ["3"]}


def test_worked_examples_are_not_the_item(tmp_path: Path) -> None:
    rows = items(4)
    shot = sentence("shot", 30)
    for row in rows:
        row["prompt"] = f"{shot}\n\n{row['prompt']}"
    config = ContaminationConfig(
        scores=write_scores(tmp_path / "s", rows, num_fewshot=1), corpus=corpus_with(tmp_path, [shot])
    )
    assert read_contamination(measure(config, tmp_path / "out"))["items_found"] == {"items/quiz.jsonl": []}


def test_everything_contaminated_leaves_no_clean_score(tmp_path: Path) -> None:
    rows = items(3)
    corpus = corpus_with(tmp_path, [row["prompt"] for row in rows])
    config = ContaminationConfig(scores=write_scores(tmp_path / "s", rows), corpus=corpus)
    (row,) = read_contamination(measure(config, tmp_path / "out"))["scores"]
    assert row["contaminated"]["value"] == 1.0 and row["clean"] is None


def test_items_without_texts_are_refused(tmp_path: Path) -> None:
    rows = [{"id": 1, "prompt_hash": "p", "scores": {"acc": 1.0}}]
    config = ContaminationConfig(scores=write_scores(tmp_path / "s", rows), corpus=corpus_with(tmp_path, []))
    with pytest.raises(ArtifactError, match="no item has a text"):
        measure(config, tmp_path / "out")
