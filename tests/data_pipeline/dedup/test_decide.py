"""Which copies go, and which member of a group stays."""

import random

import numpy as np
import pytest

from data_pipeline.dedup.config import DedupConfig
from data_pipeline.dedup.decide import Candidates, exact_duplicates, near_duplicates, survivors
from data_pipeline.dedup.step import exact_hash
from data_pipeline.minhash import MinHasher


def candidates(lengths: list[int], quality: list[float], ids: str) -> Candidates:
    return Candidates(list(ids), np.array(lengths), np.array(quality))


@pytest.mark.parametrize(
    ("keep", "expected"),
    [("longest", [1, 1, 1, 3, 4, 4]), ("best_quality", [2, 2, 2, 3, 4, 4]), ("first", [0, 0, 0, 3, 4, 4])],
)
def test_the_policy_chooses(keep: str, expected: list[int]) -> None:
    group = candidates([5, 9, 8, 1, 7, 7], [0.1, 0.2, 0.9, 0.5, 0.3, 0.3], "cbdaxy")
    config = DedupConfig.model_validate({"keep": keep})
    labels = np.array([7, 7, 7, 2, 9, 9])
    assert survivors(labels, group, config).tolist() == expected


def test_ties_go_to_the_better_quality_then_to_the_smaller_id() -> None:
    config = DedupConfig()
    assert survivors(np.zeros(3, int), candidates([4, 4, 4], [0.1, 0.8, 0.8], "acb"), config).tolist() == [2, 2, 2]


def test_exact_duplicates_ignore_white_space_only() -> None:
    texts = ["a b\nc", "a  b c ", "a b", "A b c"]
    keepers = exact_duplicates(
        [exact_hash(text) for text in texts], candidates([5, 7, 3, 5], [-1] * 4, "abcd"), DedupConfig()
    )
    assert keepers.tolist() == [1, 1, 2, 3]


def test_near_duplicates_do_not_depend_on_the_order() -> None:
    random_ = random.Random(1)
    words = [f"w{n}" for n in range(3000)]
    bases = [random_.sample(words, 300) for _ in range(12)]
    edited = [[*base[:150], "changed", *base[151:]] for base in bases[:6]]
    texts = [" ".join(text) for text in bases + edited]
    ids = [f"id{n}" for n in range(len(texts))]
    config = DedupConfig()

    def kept(order: list[int]) -> set[str]:
        group = Candidates([ids[n] for n in order], np.array([len(texts[n]) for n in order]), np.full(len(order), -1.0))
        signatures = MinHasher(config.minhash).signatures([texts[n] for n in order])
        keepers = near_duplicates(signatures, group, config)
        return {ids[order[n]] for n in set(keepers.tolist())}

    first = kept(list(range(len(texts))))
    assert len(first) == 12
    assert kept(random_.sample(range(len(texts)), len(texts))) == first


def test_switched_off_and_empty() -> None:
    off = DedupConfig(exact=False, near=False)
    group = candidates([1, 1], [0, 0], "ab")
    assert exact_duplicates([b"x" * 16] * 2, group, off).tolist() == [0, 1]
    assert near_duplicates(np.empty((0, 112), np.uint64), candidates([], [], ""), DedupConfig()).tolist() == []
