"""Connected components with hardly any memory against scipy's, and clusters against a search of all pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_pipeline.base.sorting import Space, numbers, pack
from data_pipeline.minhash import MinHashConfig, cluster
from data_pipeline.minhash.components import components


@pytest.mark.parametrize("memory", [1 << 30, 1 << 12])
@pytest.mark.parametrize("shape", ["random", "path", "star"])
def test_components(memory: int, shape: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    names = draw.permutation(2000)
    left, right = {
        "random": (draw.integers(0, 2000, 1200), draw.integers(0, 2000, 1200)),
        "path": (names[:700], names[1:701]),  # the worst case of passing the lowest node on
        "star": (np.full(900, names[0]), names[1:901]),
    }[shape]
    left, right = left[left != right], right[left != right]
    space = Space(memory, tmp_path)
    edges = space.sorter(16, unique=True)
    edges.add(pack(np.minimum(left, right), np.maximum(left, right)))
    found = components(edges, space)
    labels = np.arange(2000)
    for records in found.chunks():
        labels[numbers(records, 8)] = numbers(records, 0)
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(2000, 2000))
    expected = connected_components(graph, directed=False)[1]
    lowest = np.full(2000, 2000)
    np.minimum.at(lowest, expected, np.arange(2000))
    assert np.array_equal(labels, lowest[expected])


@pytest.mark.parametrize("min_similarity", [0.0, 0.65])
def test_clusters_are_those_of_all_pairs_whatever_the_memory(min_similarity: float, tmp_path: Path) -> None:
    config = MinHashConfig(min_similarity=min_similarity, bands=28, rows=4)
    draw = np.random.default_rng(3)
    signatures = draw.integers(0, 2**32, (30, 112), dtype=np.uint32)[draw.integers(0, 30, 700)]
    noise = draw.random(signatures.shape) < draw.choice([0, 0.05, 0.2, 0.3, 0.45], 700)[:, None]
    signatures[noise] = draw.integers(0, 2**32, noise.sum(), dtype=np.uint32)
    signatures[[5, 77]] = 0xFFFFFFFF
    equal = signatures[:, None] == signatures[None]
    linked = equal.reshape(700, 700, 28, 4).all(axis=3).any(axis=2) & (equal.mean(axis=2) >= min_similarity)
    linked[[5, 77]] = linked[:, [5, 77]] = False
    expected = connected_components(coo_array(linked), directed=False)[1]
    lowest = np.full(700, 700)
    np.minimum.at(lowest, expected, np.arange(700))
    for memory in (1 << 30, 1 << 14):
        assert np.array_equal(cluster(signatures, config, Space(memory, tmp_path)), lowest[expected])
