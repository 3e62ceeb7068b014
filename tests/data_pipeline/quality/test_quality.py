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
from data_pipeline.quality.folds import Example, align, fold_of, group_of, split
from data_pipeline.quality.measures import (
    area_under_roc,
    bucket_edges,
    bucket_of,
    calibration_table,
    expected_calibration_error,
    measure,
    share_interval,
    threshold_for_share,
)
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


def test_a_page_is_scored_by_the_model_that_saw_no_page_of_its_site() -> None:
    examples = [Example(f"text {n}", f"site{n % 30}.example") for n in range(300)] + [
        Example(f"prose {n}") for n in range(50)
    ]
    for fold in range(5):
        train_part, heldout = split(examples, fold, 3, 5)
        assert not {e.group for e in heldout if e.group} & {e.group for e in train_part}
        assert all(fold_of(e.line, e.group, 3, 5) == fold for e in heldout)
    assert sorted(e for fold in range(5) for e in split(examples, fold, 3, 5)[1]) == sorted(examples)
    assert group_of("http://WWW.Site.example:80/a?b") == "site.example" and group_of("") == ""


def test_alignment_brings_models_to_one_scale() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, 500)
    scores = [
        (1 / (1 + np.exp(-(shift + scale * logits)))).tolist() for shift, scale in ((0.0, 1.0), (2.0, 0.1), (-1.0, 3.0))
    ]
    aligned = [alignment.apply(each) for alignment, each in zip(align(scores), scores, strict=True)]
    assert aligned[0] == pytest.approx(aligned[1], abs=1e-6) and aligned[0] == pytest.approx(aligned[2], abs=1e-6)
    assert align(scores)[0].apply([0.0]) == [0.0], "a text without words stays at 0"


def test_cross_fitting_spares_good_pages_that_served_as_negatives(examples: dict[str, Any], tmp_path: Path) -> None:
    """Every raw page has a word of its own, by which a single model remembers it after many passes."""
    rng = random.Random(5)
    pages = [f"own{n} own{n} own{n} own{n} {sentence(rng, PROSE if n % 2 else SPAM)}" for n in range(400)]
    write_jsonl(tmp_path / "raw.jsonl", pages)
    good = np.arange(400) % 2 == 1
    kept = {}
    for folds in (1, 5):
        options = (f"folds={folds}", "fasttext.epochs=40", "fasttext.learning_rate=0.1", "fasttext.buckets=100000")
        model = train(examples, tmp_path / f"model{folds}", *options)
        assert len(list((tmp_path / f"model{folds}").glob("model*.bin"))) == folds
        scores = np.array(model.score(pages))
        kept[folds] = float((scores >= model.threshold)[good].mean())
        assert (scores >= model.threshold)[~good].mean() < 0.02
        stats = open_artifact(tmp_path / f"model{folds}").stats
        if folds == 1:
            assert stats["mean_raw_score_in_training"] < stats["mean_raw_score"] - 0.05
        else:
            assert stats["heldout_negatives"] == 400 and stats["heldout_positives"] == 400
    assert kept[5] > 0.8 and kept[5] > kept[1] + 0.15, kept


def test_cross_fitted_training_is_byte_identical(examples: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(examples, tmp_path / name, "folds=3")
    files = [{f.name: f.read_bytes() for f in (tmp_path / name).glob("model*.bin")} for name in ("a", "b")]
    assert files[0] == files[1] and sorted(files[0]) == ["model-0.bin", "model-1.bin", "model-2.bin"]


def test_buckets_are_twentieths_of_raw_pages(examples: dict[str, Any], tmp_path: Path) -> None:
    model = train(examples, tmp_path / "model")
    rng = random.Random(6)
    buckets = [model.bucket(score) for score in model.score([sentence(rng, SPAM) for _ in range(50)])]
    assert max(bucket or 0 for bucket in buckets) < 11
    scores = np.linspace(0, 1, 2001)
    counts = np.bincount([bucket_of(score, bucket_edges(scores)) for score in scores])
    assert len(counts) == 20 and counts.min() >= 99 and counts.max() <= 102
    assert bucket_of(-1.0, bucket_edges(scores)) == 0 and bucket_of(2.0, bucket_edges(scores)) == 19


def test_calibration_error_and_intervals() -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0, 1, 20_000)
    true = rng.uniform(0, 1, 20_000) < scores
    calibrated = calibration_table(scores[true], scores[~true])
    assert expected_calibration_error(calibrated) < 0.02
    assert expected_calibration_error(calibration_table(scores[true] ** 3, scores[~true] ** 3)) > 0.1
    low, high = share_interval(90, 100)
    assert (low, high) == (pytest.approx(0.8256, abs=1e-3), pytest.approx(0.9448, abs=1e-3)), "Wilson's, by hand"


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
