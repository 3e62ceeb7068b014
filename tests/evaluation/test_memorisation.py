"""A model that was trained on a handful of sentences gives them back; a random one does not."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation import statistics
from evaluation.config import EvaluationConfig
from evaluation.memorisation import run_memorisation
from evaluation.token_documents import count_documents, read_documents
from millbase.errors import ConfigError, InputError
from training.load import LoadedModel


def config(tokens: Path, **block: Any) -> EvaluationConfig:
    settings = {"tokens": str(tokens), "prefix": 6, "continuation": 4, **block}
    return EvaluationConfig.model_validate({"model": "m", "memorisation": settings, "device": "cpu"})


@pytest.fixture(scope="module")
def parrot(loaded: LoadedModel, tokens: Path) -> LoadedModel:
    """The random model after many passes over the training documents."""
    torch.manual_seed(0)
    model: Any = copy.deepcopy(loaded.model).train()
    end = loaded.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    documents = [document.ids.tolist() for document in read_documents(tokens / "train", end, model.config.vocab_size)]
    width = min(max(map(len, documents)), loaded.max_length)
    pad = loaded.tokenizer.pad_token_id
    ids = torch.tensor([(row + [pad] * width)[:width] for row in documents])
    labels = ids.masked_fill(ids == pad, -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(80):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return replace(loaded, model=model.eval(), digest="parrot")


def test_what_was_learnt_by_heart_is_found(parrot: LoadedModel, loaded: LoadedModel, tokens: Path) -> None:
    result = run_memorisation(parrot, config(tokens))
    extractable, matching, heldout = result.scores
    assert extractable.name == "memorisation extractable" and extractable.value > 0.6
    assert matching.value >= extractable.value
    # the held-out documents of this artifact are the same ones, so nothing sets them apart
    assert heldout.value == extractable.value and result.comparisons[0].verdict == "no difference"
    items = result.items["items/memorisation_train.jsonl"]
    for item in items:
        assert item["scores"]["extractable"] == float(item["scores"]["matching_share"] == 1)
    right = next(item for item in items if item["scores"]["extractable"])
    assert right["response"] == right["target"]
    assert extractable.details["by_source"] == {"web": [extractable.value, extractable.n]}
    random = run_memorisation(loaded, config(tokens))
    assert random.scores[0].value == 0 and random.scores[0].n == extractable.n


def test_short_documents_are_counted_and_none_is_an_error(loaded: LoadedModel, tokens: Path) -> None:
    result = run_memorisation(loaded, config(tokens, prefix=20, continuation=30))
    assert result.scores[0].n == 1 and result.scores[0].details["too_short"] == 8
    long = replace(loaded, max_length=2000)
    with pytest.raises(InputError, match="no document has 1000 tokens"):
        run_memorisation(long, config(tokens, prefix=900, continuation=100))
    with pytest.raises(ConfigError, match=r"prefix 90 \+ continuation 20 tokens exceed the context"):
        run_memorisation(loaded, config(tokens, prefix=90, continuation=20))


def test_passages_are_spread_and_drawn_from_the_seed(loaded: LoadedModel, tokens: Path) -> None:
    assert count_documents(tokens / "train") == 10
    result = run_memorisation(loaded, config(tokens, documents=3))
    items = result.items["items/memorisation_train.jsonl"]
    assert [item["id"] for item in items] == ["doc-0", "doc-3", "doc-6"]
    again = run_memorisation(loaded, config(tokens, documents=3))
    assert items == again.items["items/memorisation_train.jsonl"]


def test_independent_shares_are_newcombes() -> None:
    # Newcombe 1998 (Statistics in Medicine 17:873), table II, method 10: 56/70 - 48/80 gives [0.0524, 0.3339]
    ours = statistics.independent_shares([1] * 56 + [0] * 14, [1] * 48 + [0] * 32)
    assert (ours.low, ours.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert ours.value == pytest.approx(0.2) and ours.n == 150
    # and 10/10 - 0/10: [0.6075, 1.0000]
    extreme = statistics.independent_shares([1] * 10, [0] * 10)
    assert (extreme.low, extreme.high) == (pytest.approx(0.6075, abs=5e-5), pytest.approx(1.0))
