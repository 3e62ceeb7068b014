"""The quality classifier: training, threshold, scores, determinism, and errors, on small made-up examples."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from data_pipeline.quality import QualityModel, QualityModelConfig, train_quality
from data_pipeline.quality.measures import area_under_roc, calibration_table, measure, threshold_for_share
from data_pipeline.quality.model import to_line
from data_pipeline.quality.train import cut
from millbase.artifacts import open_artifact
from millbase.config import load_config
from millbase.errors import ArtifactError, ConfigError, InputError

PROSE = [
    "the",
    "of",
    "and",
    "in",
    "river",
    "mountain",
    "because",
    "therefore",
    "winter",
    "village",
    "history",
    "light",
    "water",
    "which",
    "slowly",
    "under",
]
SPAM = [
    "buy",
    "cheap",
    "click",
    "here",
    "now",
    "login",
    "free",
    "offer",
    "casino",
    "pills",
    "best",
    "price",
    "deal",
    "win",
    "bonus",
    "subscribe",
]


def sentence(rng: random.Random, words: list[str]) -> str:
    return " ".join(rng.choices(words, k=rng.randint(30, 60))).capitalize() + "."


def write_jsonl(path: Path, texts: list[str], field: str = "text") -> None:
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts))


@pytest.fixture
def examples(tmp_path: Path) -> dict[str, Any]:
    """Positives of prose; negatives half spam, half prose: the crawl holds good pages too."""
    rng = random.Random(1)
    write_jsonl(tmp_path / "good.jsonl", [sentence(rng, PROSE) for _ in range(400)], field="output")
    raw = [sentence(rng, PROSE if index % 2 else SPAM) for index in range(400)]
    write_jsonl(tmp_path / "raw.jsonl", raw)
    return {
        "positives": [{"path": str(tmp_path / "good.jsonl"), "field": "output"}],
        "negatives": [{"path": str(tmp_path / "raw.jsonl")}],
        "folds": 1,
        "fasttext": {"buckets": 10_000},
    }


def train(examples: dict[str, Any], out: Path, *overrides: str) -> QualityModel:
    return QualityModel.load(train_quality(load_config(QualityModelConfig, examples, overrides), out))


def test_good_raw_pages_pass_a_threshold_set_by_recall(examples: dict[str, Any], tmp_path: Path) -> None:
    model = train(examples, tmp_path / "model")
    rng = random.Random(2)
    good = np.array(model.score([sentence(rng, PROSE) for _ in range(200)]))
    spam = np.array(model.score([sentence(rng, SPAM) for _ in range(200)]))
    assert (good >= model.threshold).mean() > 0.8
    assert (spam >= model.threshold).mean() < 0.02
    stats = open_artifact(tmp_path / "model", kind="quality-model").stats
    assert stats["recall"] >= 0.9
    assert 0.35 < stats["kept_negatives"] < 0.6, "the good half of the raw pages passes"
    assert stats == json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert sum(row["positives"] for row in stats["calibration"]) == stats["heldout_positives"]


def test_threshold_by_share_of_the_crawl(examples: dict[str, Any], tmp_path: Path) -> None:
    train(examples, tmp_path / "model", "threshold_by=keep_share", "threshold_target=0.25")
    stats = open_artifact(tmp_path / "model").stats
    assert stats["kept_negatives"] == pytest.approx(0.25, abs=1.5 / stats["heldout_negatives"])


def test_training_is_byte_identical_and_seeded(examples: dict[str, Any], tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(examples, tmp_path / name, f"seed={seed}")
        digests.append(hashlib.sha256((tmp_path / name / "model.bin").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_the_order_and_the_split_of_files_do_not_matter(examples: dict[str, Any], tmp_path: Path) -> None:
    train(examples, tmp_path / "a")
    lines = (tmp_path / "raw.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "raw1.jsonl").write_text("".join(reversed(lines[:90])))
    (tmp_path / "raw0.jsonl").write_text("".join(lines[90:]))
    parts = examples | {"negatives": [{"path": str(tmp_path / "raw[01].jsonl")}]}
    train(parts, tmp_path / "b")
    assert (tmp_path / "a" / "model.bin").read_bytes() == (tmp_path / "b" / "model.bin").read_bytes()


def test_scores_of_odd_texts(examples: dict[str, Any], tmp_path: Path) -> None:
    model = train(examples, tmp_path / "model")
    prose = sentence(random.Random(3), PROSE)
    scores = model.score(
        ["", " \n ", prose, prose.replace(" ", "\n"), "__label__good __label__good", "\x00\u2028\r\n\ud800"]
    )
    assert scores[0] == scores[1] == 0.0
    assert scores[2] == scores[3], "line breaks are white space"
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert model.score([]) == []
    many = [prose, "buy casino"] * 1500
    assert model.score(many) == model.score(many[:2]) * 1500, "batches do not matter"


def test_only_the_first_characters_count(examples: dict[str, Any], tmp_path: Path) -> None:
    model = train(examples, tmp_path / "model", "max_characters=200")
    prose = " ".join(sentence(random.Random(4), PROSE) for _ in range(3))[:200]
    assert model.score([prose]) == model.score([prose + " buy casino" * 100])


def test_lines_keep_words_and_marks_apart_and_hide_labels() -> None:
    assert to_line("Don't stop.\nNow!", 100) == "don ' t stop . now !"
    assert "__label__" not in to_line("__label__good", 100)
    assert to_line("abc def", 4) == "abc"


def test_cut_takes_evenly_spread_pieces() -> None:
    text = "".join(chr(ord("a") + index // 10) for index in range(100))
    assert cut(text, 10, 1) == ["a" * 10]
    assert cut(text, 10, 5) == ["a" * 10, "c" * 10, "e" * 10, "g" * 10, "i" * 10]
    assert cut("short", 10, 5) == ["short"]


def test_measures_agree_with_definitions() -> None:
    rng = np.random.default_rng(0)
    positive, negative = rng.beta(4, 2, 300).round(2), rng.beta(2, 4, 500).round(2)
    truth = np.r_[np.ones(300), np.zeros(500)]
    assert area_under_roc(positive, negative) == pytest.approx(roc_auc_score(truth, np.r_[positive, negative]))
    threshold = threshold_for_share(positive, 0.9)
    assert (positive >= threshold).mean() >= 0.9
    assert (positive >= threshold + 0.01).mean() < 0.9, "the highest such threshold"
    result = measure(positive, negative, threshold)
    kept = np.r_[positive >= threshold, negative >= threshold]
    assert result["precision"] == pytest.approx(truth[kept].mean())
    table = calibration_table(np.array([0.0, 0.05, 1.0]), np.array([0.1, 0.95]))
    assert (table[0]["positives"], table[0]["negatives"], table[0]["positive_share"]) == (2, 0, 1.0)
    assert (table[1]["positives"], table[1]["negatives"]) == (0, 1)
    assert (table[9]["positives"], table[9]["negatives"], table[9]["mean_score"]) == (1, 1, 0.975)
    assert table[5]["positive_share"] is None


def test_too_few_examples(examples: dict[str, Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "raw.jsonl", ["only one page"])
    with pytest.raises(InputError, match="1 negative examples leave"):
        train(examples, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_config_errors(examples: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no negative examples"):
        load_config(QualityModelConfig, examples | {"negatives": []})
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        load_config(QualityModelConfig, examples, ["fasttext.epoch=3"])


def test_damaged_model_is_refused(examples: dict[str, Any], tmp_path: Path) -> None:
    train(examples, tmp_path / "model")
    with (tmp_path / "model" / "model.bin").open("r+b") as file:
        file.seek(100)
        file.write(b"xx")
    with pytest.raises(ArtifactError, match="changed since it was written"):
        QualityModel.load(tmp_path / "model")
