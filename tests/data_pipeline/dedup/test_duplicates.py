"""Which copies go, which member of a group stays, and that neither order nor memory matters."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.base.sorting import Space, pack
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.dedup.documents import (
    EXACT,
    NEAR,
    Documents,
    assign_ranks,
    capture_time,
    preference,
    preference_width,
)
from data_pipeline.dedup.duplicates import drop_equal, drop_near
from data_pipeline.dedup.step import exact_hash
from data_pipeline.minhash import MinHasher


def documents_of(
    texts: list[str],
    config: DedupConfig,
    space: Space,
    ids: list[str] | None = None,
    quality: list[float] | None = None,
    dates: list[str | None] | None = None,
    indexed: list[str] | None = None,
) -> Documents:
    indexed = indexed or []
    documents = Documents.make(len(texts), len(indexed), config, space)
    hashes = b"".join(map(exact_hash, [*texts, *indexed]))
    documents.hashes[EXACT][:] = np.frombuffer(hashes, np.uint8).reshape(-1, 16)
    if documents.signatures is not None:
        documents.signatures[:] = MinHasher(config.minhash).signatures([*texts, *indexed])
    best = preference(
        ids or [f"id{n:04d}" for n in range(len(texts))],
        np.array([len(text) for text in texts]),
        np.array(quality or [-1.0] * len(texts)),
        dates or [None] * len(texts),
        config,
    )
    sorter = space.sorter(preference_width(config) + 8)
    sorter.add(pack(best, np.arange(len(texts))))
    assign_ranks(documents, sorter)
    return documents


def kept_of(documents: Documents) -> list[int]:
    """For each document the one kept instead of it, itself where it stays."""
    rows = np.arange(documents.count)
    return np.where(documents.step[: documents.count] == 0, rows, documents.keeper[: documents.count]).tolist()


@pytest.mark.parametrize(
    ("keep", "kept"),
    [("longest", 1), ("best_quality", 2), ("first", 0), ("oldest", 3), ("newest", 2)],
)
def test_the_policy_chooses(keep: str, kept: int, tmp_path: Path) -> None:
    config = DedupConfig.model_validate({"keep": keep, "near": False})
    texts = ["same text", "same   \n   text", "same \n text", "same  text", "another"]
    dates = [None, "2021-01-01T00:00:00Z", "2024-01-01T00:00:00.5+01:00", "2019-05-05", "2000-01-01"]
    documents = documents_of(texts, config, Space(1 << 20, tmp_path), list("cbdax"), [0.1, 0.2, 0.9, 0.3, 1.0], dates)
    drop_equal(documents, EXACT, Space(1 << 20, tmp_path))
    assert kept_of(documents) == [kept] * 4 + [4]


@pytest.mark.parametrize(
    ("ids", "quality", "kept"),
    [("acb", [0.1, 0.8, 0.8], 2), ("acb", [0.8, 0.8, 0.8], 0), ("bca", [0.0, -1.0, -0.5], 0)],
)
def test_ties_go_to_the_better_quality_then_to_the_smaller_id(
    ids: str, quality: list[float], kept: int, tmp_path: Path
) -> None:
    config, space = DedupConfig(near=False), Space(1 << 20, tmp_path)
    documents = documents_of(["t"] * 3, config, space, list(ids), quality)
    drop_equal(documents, EXACT, space)
    assert kept_of(documents) == [kept] * 3


def test_long_ids_and_equal_ids_have_an_order_too(tmp_path: Path) -> None:
    config, space = DedupConfig(near=False), Space(1 << 20, tmp_path)
    long = "http://example.com/" + "x" * 80
    documents = documents_of(["t"] * 4, config, space, [long + "2", long + "1", "same", "same"])
    drop_equal(documents, EXACT, space)
    assert len(set(kept_of(documents))) == 1


def test_white_space_is_ignored_and_case_is_not(tmp_path: Path) -> None:
    config, space = DedupConfig(near=False), Space(1 << 20, tmp_path)
    documents = documents_of(["a b\nc", "a  b c ", "a b", "A b c"], config, space)
    drop_equal(documents, EXACT, space)
    assert kept_of(documents) == [1, 1, 2, 3]


def made_up(seed: int) -> list[str]:
    draw = random.Random(seed)
    words = [f"w{n}" for n in range(3000)]
    texts = []
    for _ in range(60):
        base = draw.sample(words, draw.randint(100, 300))
        for _ in range(draw.choice((1, 1, 2, 6))):
            copy = list(base)
            for _ in range(draw.randint(0, 3)):
                copy[draw.randrange(len(copy))] = "changed"
            texts.append(" ".join(copy[: len(copy) - draw.randint(0, 3)]))
    return texts


def decide(texts: list[str], ids: list[str], memory: int, folder: Path) -> dict[str, tuple[int, str, float]]:
    config, space = DedupConfig(), Space(memory, folder)
    documents = documents_of(texts, config, space, ids)
    drop_equal(documents, EXACT, space)
    drop_near(documents, config, space)
    columns = (documents.step, documents.keeper, documents.similarity)
    return {
        ids[row]: (int(step), ids[keeper] if step else "", float(similarity))
        for row, (step, keeper, similarity) in enumerate(zip(*(column.tolist() for column in columns), strict=True))
    }


def test_neither_order_nor_memory_matters(tmp_path: Path) -> None:
    texts = made_up(1)
    ids = [f"id{n}" for n in range(len(texts))]
    expected = decide(texts, ids, 1 << 30, tmp_path / "a")
    order = random.Random(2).sample(range(len(texts)), len(texts))
    shuffled = decide([texts[n] for n in order], [ids[n] for n in order], 1 << 12, tmp_path / "b")
    assert shuffled == expected
    steps = [step for step, _, _ in expected.values()]
    assert steps.count(0) == 60 and EXACT in steps and NEAR in steps
    similarities = [similarity for step, _, similarity in expected.values() if step == NEAR]
    assert np.median(similarities) > 0.8 and min(similarities) > 0.5, "at the ends of a chain it may be below 0.65"


def test_indexed_documents_win_and_stay(tmp_path: Path) -> None:
    texts = made_up(3)[:40]
    config, space = DedupConfig(), Space(1 << 20, tmp_path)
    indexed = [texts[0], texts[7].replace("w", "v"), texts[12] + " more words at its end"]
    documents = documents_of(texts, config, space, indexed=indexed)
    drop_equal(documents, EXACT, space)
    drop_near(documents, config, space)
    assert documents.step[0] == EXACT and documents.keeper[0] == 40
    assert documents.step[12] == NEAR and documents.keeper[12] == 42 and documents.similarity[12] > 0.8
    assert not documents.step[40:].any()
    assert documents.step[7] == 0 or documents.keeper[7] < 40


def test_capture_times() -> None:
    assert capture_time("1970-01-01T00:00:01Z") == capture_time("1970-01-01T01:00:01+01:00") == 1_000_000
    assert capture_time("1969-12-31") == -86_400_000_000
    assert capture_time(None) is None and capture_time("") is None and capture_time("yesterday") is None
