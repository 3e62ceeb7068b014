"""Mixture weights."""

import random

import numpy as np
import pytest

from data_pipeline.mixture import mixture_targets, sample_sources


def sample(weights: dict[str, float | None], max_epochs: float = 1.0, seed: int = 0) -> dict[str, int]:
    random_ = random.Random(3)
    sources = [name for name, count in (("a", 400), ("b", 1000), ("c", 50)) for _ in range(count)]
    sizes = np.array([random_.randint(50, 400) for _ in sources])
    available = {name: int(sum(size for size, source in zip(sizes, sources) if source == name)) for name in "abc"}
    shares = mixture_targets(available, weights, max_epochs)
    keep = sample_sources([f"id{n}" for n in range(len(sources))], sources, sizes, shares, seed)
    return {
        name: int(sum(size for size, source, k in zip(sizes, sources, keep) if source == name and k)) for name in "abc"
    }


def test_shares_match_the_weights_and_the_scarcest_source_is_used_up() -> None:
    whole = sample({"a": None, "b": None, "c": None})
    kept = sample({"a": 2.0, "b": 1.0, "c": None})
    assert kept["a"] == whole["a"] and kept["c"] == whole["c"]
    assert kept["a"] / kept["b"] == pytest.approx(2, rel=0.01)


def test_more_epochs_keep_more_of_the_others() -> None:
    once = sample({"a": None, "b": 0.5, "c": 0.5})
    thrice = sample({"a": None, "b": 0.5, "c": 0.5}, max_epochs=3)
    assert once["b"] == pytest.approx(once["c"], rel=0.05)
    assert thrice["c"] == once["c"] and thrice["b"] == pytest.approx(3 * once["b"], rel=0.05)
    shares = mixture_targets({"b": 3000, "c": 100}, {"b": 0.5, "c": 0.5}, 3)
    assert (shares["c"].epochs, shares["b"].epochs, shares["b"].target) == (3, 1, 300)


def test_the_seed_chooses_other_documents_of_the_same_size() -> None:
    assert sample({"a": 1.0, "b": 1.0, "c": 1.0}, seed=0) == pytest.approx(
        sample({"a": 1.0, "b": 1.0, "c": 1.0}, seed=1), rel=0.05
    )


def test_a_larger_target_keeps_all_that_a_smaller_one_kept() -> None:
    ids, sources, sizes = [f"i{n}" for n in range(300)], ["a"] * 300, np.full(300, 10)
    keeps = []
    for available in (1000, 2000):
        shares = mixture_targets({"a": 3000, "b": available}, {"a": 1.0, "b": 1.0}, 1)
        keeps.append(sample_sources(ids, sources, sizes, shares, 0))
    assert keeps[0].sum() == 100 and keeps[1].sum() == 200 and (keeps[0] <= keeps[1]).all()
