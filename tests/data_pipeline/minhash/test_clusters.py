"""Clusters: recall by similarity against theory, no false merges, independence of order, real page versions."""

import gzip
import json
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH

from data_pipeline.base.sorting import Space, numbers
from data_pipeline.minhash import EMPTY, MinHashConfig, MinHasher, cluster, clusters

CONFIG = MinHashConfig()
HASHER = MinHasher(CONFIG)


def test_recall_follows_the_band_formula_and_datasketch(pages: Any) -> None:
    pairs = pages.pairs(600)
    texts = [text for pair in pairs for text in pair]
    config = MinHashConfig(min_similarity=0.0)
    labels = cluster(HASHER.signatures(texts), config)
    found = labels[::2] == labels[1::2]
    lsh = MinHashLSH(num_perm=config.permutations, params=(config.bands, config.rows))
    sketches = []
    for index, text in enumerate(texts):
        sketch = MinHash(num_perm=config.permutations)
        sketch.update_batch([" ".join(shingle).encode() for shingle in HASHER.shingles(text)])
        lsh.insert(index, sketch)
        sketches.append(sketch)
    peer = np.array([2 * i + 1 in lsh.query(sketches[2 * i]) for i in range(len(pairs))])
    shingles = [(HASHER.shingles(a), HASHER.shingles(b)) for a, b in pairs]
    similarity = np.array([len(a & b) / len(a | b) for a, b in shingles])
    expected = 1 - (1 - similarity**config.rows) ** config.bands
    for low, high in ((0.3, 0.6), (0.6, 0.75), (0.75, 0.85), (0.85, 0.95), (0.95, 1.01)):
        group = (similarity >= low) & (similarity < high)
        assert group.sum() >= 15, f"too few pairs between {low} and {high}"
        tolerance = 4 * np.sqrt((expected[group] * (1 - expected[group])).sum()) / group.sum() + 0.01
        assert abs(found[group].mean() - expected[group].mean()) < tolerance, (low, high)
        assert abs(found[group].mean() - peer[group].mean()) < 1.5 * tolerance, (low, high)


def test_unrelated_pages_never_merge_and_groups_do(pages: Any) -> None:
    originals = [pages.page(200) for _ in range(300)]
    texts, truth = [], []
    for number, words in enumerate(originals):
        for copy in range(pages.rng.choice((1, 1, 2, 5))):
            texts.append(" ".join(pages.edit(words, 0.005 if copy else 0.0)))
            truth.append(number)
    labels = cluster(HASHER.signatures(texts), CONFIG)
    members: dict[int, set[int]] = defaultdict(set)
    for label, number in zip(labels.tolist(), truth, strict=True):
        members[label].add(number)
    assert all(len(numbers) == 1 for numbers in members.values()), "pages of two originals merged"
    assert len(members) <= 1.02 * len(originals)
    assert all(labels[label] == label for label in labels), "a label is a row of its own group"
    assert all(label <= row for row, label in enumerate(labels.tolist())), "a label is the lowest row"


@pytest.mark.parametrize("min_similarity", [0.0, 0.65])
def test_order_of_documents_does_not_matter(pages: Any, min_similarity: float) -> None:
    config = MinHashConfig(min_similarity=min_similarity, bands=28, rows=4)
    base = pages.page(120)
    # one large family of drifting versions: chains, buckets of many signatures and exact copies at once
    texts = [" ".join(pages.edit(base, pages.rng.choice((0.0, 0.01, 0.03, 0.06)))) for _ in range(400)]
    signatures = MinHasher(config).signatures(texts)
    labels = cluster(signatures, config)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(texts))
        shuffled = cluster(signatures[order], config)
        groups = {frozenset(order[shuffled == label].tolist()) for label in set(shuffled.tolist())}
        assert groups == {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}
    assert 1 < len(set(labels.tolist())) < 400


def test_verification_stops_merges_of_unlike_pages(pages: Any) -> None:
    pairs = [(a, b) for a, b in pages.pairs(2000) if 0.3 < _jaccard(a, b) < 0.5]
    texts = [text for pair in pairs for text in pair]
    signatures = HASHER.signatures(texts)
    merged = {}
    for threshold in (0.0, 0.65):
        labels = cluster(signatures, MinHashConfig(min_similarity=threshold))
        merged[threshold] = int((labels[::2] == labels[1::2]).sum())
    assert merged[0.0] > 0, "without verification chance matches of one band merge"
    assert merged[0.65] == 0


def test_documents_without_words_stay_alone() -> None:
    labels = cluster(HASHER.signatures(["", "same text twice", "???", "same text twice", ""]), CONFIG)
    assert labels.tolist() == [0, 1, 2, 1, 4]
    assert labels.dtype == np.int64


def test_no_rows_and_one_row() -> None:
    assert cluster(np.empty((0, 112), dtype=np.uint32), CONFIG).tolist() == []
    assert cluster(HASHER.signatures(["only one"]), CONFIG).tolist() == [0]
    assert cluster(np.full((1, 112), EMPTY), CONFIG).tolist() == [0]


def test_wrong_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[N, 112\]"):
        cluster(np.zeros((3, 64), dtype=np.uint32), CONFIG)


def test_real_page_versions(real_data: Path) -> None:
    """Manual pages of two Debian releases, all pairs of exact Jaccard >= 0.3 known."""
    folder = real_data / "neardup" / "debian_versions"
    documents = [json.loads(line) for line in gzip.open(folder / "docs.jsonl.gz", "rt")]
    documents = [document for document in documents if document["lang"] not in ("ja", "zh")]
    row = {document["id"]: index for index, document in enumerate(documents)}
    pairs = [json.loads(line) for line in gzip.open(folder / "pairs_all_ge_0.3.jsonl.gz", "rt")]
    pairs = [pair for pair in pairs if pair["a"] in row and pair["b"] in row]
    similarity = np.array([pair["jaccard"] for pair in pairs])
    listed = {frozenset((row[pair["a"]], row[pair["b"]])) for pair in pairs}
    merged = []
    for seed in range(4):  # one chain of pairs that merges by chance ties several unlike pages together
        config = MinHashConfig(seed=seed)
        labels = cluster(MinHasher(config).signatures([document["text"] for document in documents]), config)
        merged.append([labels[row[pair["a"]]] == labels[row[pair["b"]]] for pair in pairs])
        groups = [np.flatnonzero(labels == label) for label in set(labels.tolist())]
        together = {frozenset(pair) for group in groups for pair in combinations(group.tolist(), 2)}
        assert together <= listed, "merged although their similarity is under 0.3"
    share = np.mean(merged, axis=0)
    assert share[similarity >= 0.9].mean() >= 0.99
    assert share[(similarity >= 0.8) & (similarity < 0.9)].mean() >= 0.9
    assert share[similarity < 0.5].mean() <= 0.01


def _jaccard(left: str, right: str) -> float:
    a, b = HASHER.shingles(left), HASHER.shingles(right)
    return len(a & b) / len(a | b)


def grouped(signatures: np.ndarray, space: Space, workers: int) -> list[tuple[int, int]]:
    """(label, row) in order, from signatures in a file of `space`."""
    stored = space.array("signatures.u32", np.uint32, signatures.shape)
    stored[:] = signatures
    found = clusters.near_groups(stored, CONFIG, space, workers=workers)
    pairs = [pair for records in found.chunks() for pair in zip(numbers(records, 0), numbers(records, 8), strict=True)]
    found.close()
    return pairs


@pytest.mark.parametrize("memory", [1 << 19, 1 << 30])
def test_groups_are_the_same_from_any_number_of_processes(tmp_path: Path, memory: int, monkeypatch: Any) -> None:
    """Chains of copies, each a little further from the first, exact copies and pages without words among them."""
    draw = np.random.default_rng(3)
    rows = [draw.integers(0, 1 << 32, CONFIG.permutations, dtype=np.uint32) for _ in range(1500)]
    for number in range(0, 1400, 2):
        copy = rows[number].copy()
        copy[draw.integers(0, CONFIG.permutations, int(draw.integers(0, 40)))] = 7
        rows.append(copy)
        rows[number + 1] = np.where(draw.random(CONFIG.permutations) < 0.15, 9, copy).astype(np.uint32)
    signatures = np.array([*rows, *([np.full(CONFIG.permutations, EMPTY)] * 3)], dtype=np.uint32)
    alone = grouped(signatures, Space(memory, tmp_path / "1"), 1)
    assert len({label for label, _ in alone}) > 600
    labels = cluster(signatures, CONFIG)
    assert all(labels[row] == label for label, row in alone)
    monkeypatch.setattr(clusters, "_ROWS_PER_PROCESS", 1)
    asked: list[int] = []
    inside = clusters._join_in_processes
    monkeypatch.setattr(clusters, "_join_in_processes", lambda *a: asked.append(a[-1]) or inside(*a))
    assert grouped(signatures, Space(memory, tmp_path / "3"), 3) == alone
    assert asked == [3] and not list((tmp_path / "3").glob("**/*.run"))
