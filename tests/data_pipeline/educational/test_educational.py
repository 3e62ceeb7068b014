"""Educational value: distilling labels into a tiny transformer, its measures, the batched step, and errors."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datatrove.data import Document

from data_pipeline.educational import EducationalConfig, EducationalFilter
from data_pipeline.educational.config import EducationalModelConfig
from data_pipeline.educational.model import EducationalModel
from data_pipeline.educational.train import measure, train_educational
from millbase.artifacts import open_artifact
from millbase.config import load_config
from millbase.errors import ArtifactError, InputError

SCHOOL = ["theorem", "proof", "energy", "cell", "history", "because", "therefore", "explain", "example", "gravity"]
SHOP = ["buy", "cheap", "cart", "price", "sale", "shipping", "login", "click", "discount", "offer"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT with random weights and a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

    folder = tmp_path_factory.mktemp("base")
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *SCHOOL, *SHOP])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    set_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return str(folder)


def text(rng: random.Random, share: float) -> str:
    return " ".join(rng.choice(SCHOOL if rng.random() < share else SHOP) for _ in range(24))


@pytest.fixture(scope="module")
def config(base: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    rng = random.Random(0)
    shares = [rng.random() for _ in range(240)]
    rows = [{"page": text(rng, share), "label": round(5 * share)} for share in shares]
    file = tmp_path_factory.mktemp("labels") / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "labels": [{"path": str(file), "field": "page", "score_field": "label"}],
        "base_model": base, "freeze_encoder": False, "learning_rate": 2e-3, "epochs": 25, "batch_size": 16,
        "max_tokens": 32,
        "heldout_share": 0.2,
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("trained") / "model"
    return str(train_educational(load_config(EducationalModelConfig, config), out))


def test_labels_are_learnt(trained: str) -> None:
    stats = open_artifact(trained, kind="educational-model").stats
    assert stats["mean_error"] < 0.6 * stats["mean_error_of_the_mean"]
    assert stats["spearman"] > 0.8 and stats["f1"] > 0.7
    model, rng = EducationalModel.load(trained), random.Random(1)
    low, high = model.score([text(rng, 0.05) for _ in range(10)]), model.score([text(rng, 0.95) for _ in range(10)])
    assert max(low) < min(high) and all(0 <= score <= 5 for score in low + high)
    assert model.score([]) == [] and len(model.score(["", "\ud800 odd", "x " * 900])) == 3


def test_training_is_reproducible(config: dict[str, Any], tmp_path: Path) -> None:
    short = load_config(EducationalModelConfig, config, ["epochs=1", "freeze_encoder=true"])
    one, two = train_educational(short, tmp_path / "one"), train_educational(short, tmp_path / "two")
    weights = [(path / "model" / "model.safetensors").read_bytes() for path in (one, two)]
    assert weights[0] == weights[1]


def test_the_step_scores_in_batches_as_alone(trained: str) -> None:
    rng = random.Random(2)
    where = {"url": "", "source": "", "warc_file": "", "warc_offset": 0, "warc_length": 0, "position": 0}
    texts = [text(rng, n / 20) for n in range(21)]
    documents = [Document(each, f"d{n}", metadata=dict(where)) for n, each in enumerate(texts)]
    step = EducationalFilter(EducationalConfig(model=trained, min_score=2.5, batch_size=4))
    kept = list(step.run(iter(documents)))
    assert 0 < len(kept) < 21 and len(kept) + len(step.log.rows) == 21 and step.seconds > 0
    alone = EducationalFilter(EducationalConfig(model=trained))
    for document in documents:
        fresh = Document(document.text, document.id, metadata=dict(where))
        [told] = alone.measure(fresh)
        assert told.rule == "educational" and told.passed
        assert document.metadata["quality"]["educational"] == pytest.approx(told.value, abs=2e-3)
    assert all(row["reason"] == "educational" and row["value"] < 2.5 == row["threshold"] for row in step.log.rows)


def test_a_page_that_fails_is_dropped_alone(trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    score = EducationalModel.score

    def fragile(self: EducationalModel, texts: list[str]) -> list[float]:
        if any("poison" in each for each in texts):
            raise RuntimeError("bad page")
        return score(self, texts)

    monkeypatch.setattr(EducationalModel, "score", fragile)
    where = {"url": "", "source": "", "warc_file": "", "warc_offset": 0, "warc_length": 0, "position": 0}
    documents = [Document(f"theorem {word}", word, metadata=dict(where)) for word in ("a", "poison", "b")]
    step = EducationalFilter(EducationalConfig(model=trained, batch_size=3))
    assert [document.id for document in step.run(iter(documents))] == ["a", "b"]
    assert [row["reason"] for row in step.log.rows] == ["error: RuntimeError"]


def test_measures() -> None:
    scores, labels = np.array([3.2, 1.0, 4.0, 2.0]), np.array([4.0, 1.0, 2.0, 3.0])
    told = measure(scores, labels, 3.0)
    assert (told["precision"], told["recall"], told["f1"]) == (0.5, 0.5, 0.5)
    assert told["mean_error"] == pytest.approx((0.8 + 0 + 2 + 1) / 4)
    assert told["mean_error_of_the_mean"] == pytest.approx(1.0)
    assert measure(np.ones(4), labels, 3.0)["spearman"] is None


def test_mistakes_are_told(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of a Hugging Face model"):
        train_educational(load_config(EducationalModelConfig, config, ["base_model=none"]), tmp_path / "out")
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "score": 9}\n{"text": "b", "score": "high"}\n')
    labels = config | {"labels": [{"path": str(tmp_path / "rows.jsonl")}]}
    with pytest.raises(InputError, match=r"2 of 2 rows are unusable .*holds 9, expected a number from 0 to 5"):
        train_educational(load_config(EducationalModelConfig, labels), tmp_path / "out")
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "score": 3}\n')
    with pytest.raises(InputError, match="1 labelled rows leave"):
        train_educational(load_config(EducationalModelConfig, labels), tmp_path / "out")
    with pytest.raises(ArtifactError, match="does not exist"):
        EducationalFilter(EducationalConfig(model=str(tmp_path / "none")))
    assert not (tmp_path / "out").exists()
