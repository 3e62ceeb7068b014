"""Which documents are read, and how often."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from data_pipeline.mixture import Mixed, MixtureConfig, mix
from data_pipeline.mixture.sample import spread
from millbase.config import load_config
from millbase.errors import InputError

DRAW = random.Random(3)
SOURCES = [name for name, count in (("a", 400), ("b", 1000), ("c", 50)) for _ in range(count)]
SIZES = np.array([DRAW.randint(50, 400) for _ in SOURCES])
IDS = [f"id{n}" for n in range(len(SOURCES))]
SCORES = np.array([DRAW.random() for _ in SOURCES])


def mixed(seed: int = 0, scores: np.ndarray | None = None, **fields: Any) -> Mixed:
    return mix(IDS, SOURCES, SIZES, scores, load_config(MixtureConfig, fields), seed)


def read(result: Mixed) -> dict[str, int]:
    """Bytes read of each source."""
    names = np.array(SOURCES)
    return {name: int((SIZES * result.copies)[names == name].sum()) for name in "abc"}


WHOLE = read(mixed())


def test_shares_match_the_weights_and_the_scarcest_source_is_used_up() -> None:
    kept = read(mixed(weights={"a": 2.0, "b": 1.0}))
    assert kept["a"] == WHOLE["a"] and kept["c"] == WHOLE["c"]
    assert kept["a"] / kept["b"] == pytest.approx(2, rel=0.01)


def test_a_scarce_source_is_repeated_up_to_its_epochs() -> None:
    once = read(mixed(weights={"b": 0.5, "c": 0.5}))
    assert once["b"] == pytest.approx(once["c"], rel=0.05) and once["c"] == WHOLE["c"]
    result = mixed(weights={"b": 0.5, "c": 0.5}, max_epochs=2.5)
    thrice = read(result)
    assert thrice["c"] == pytest.approx(2.5 * WHOLE["c"], rel=0.01) and thrice["b"] == pytest.approx(
        thrice["c"], rel=0.01
    )
    copies = result.copies[np.array(SOURCES) == "c"]
    assert set(copies.tolist()) == {2, 3} and result.shares["c"].epochs == 2.5
    assert set(result.copies[np.array(SOURCES) == "a"].tolist()) == {1}


def test_the_seed_chooses_other_documents_of_the_same_size() -> None:
    one, other = mixed(weights={"a": 1, "b": 1, "c": 1}), mixed(1, weights={"a": 1, "b": 1, "c": 1})
    assert (one.copies != other.copies).any()
    assert read(one) == pytest.approx(read(other), rel=0.05)


def test_order_makes_no_difference() -> None:
    config = load_config(MixtureConfig, {"weights": {"a": 1, "b": 1}, "quality": {"buckets": BUCKETS}})
    forward = mix(IDS, SOURCES, SIZES, SCORES, config, 5)
    backward = mix(IDS[::-1], SOURCES[::-1], SIZES[::-1], SCORES[::-1], config, 5)
    assert (forward.copies == backward.copies[::-1]).all()


def test_more_of_a_source_includes_what_less_of_it_had() -> None:
    before = np.zeros(300)
    for times in (0, 0.2, 0.5, 1.0, 1.3, 2.0, 2.7):
        copies = spread(IDS[:300], np.full(300, 10), times, 0)
        assert (copies >= before).all() and copies.sum() == pytest.approx(300 * times, abs=1)
        before = copies


BUCKETS = [{"above": 0.4, "repeat": 1}, {"above": 0.7, "repeat": 2}, {"above": 0.9, "repeat": 4}]


def test_better_documents_are_read_more_often() -> None:
    result = mixed(scores=SCORES, quality={"buckets": BUCKETS})
    rows = np.array(SOURCES) == "b"
    order = np.argsort(SCORES[rows])
    copies, sizes = result.copies[rows][order], SIZES[rows][order]
    assert (np.diff(copies) >= 0).all() and set(copies.tolist()) == {0, 1, 2, 4}
    for repeat, share in ((0, 0.4), (1, 0.3), (2, 0.2), (4, 0.1)):
        assert sizes[copies == repeat].sum() / sizes.sum() == pytest.approx(share, abs=0.005)
    dropped = int(np.flatnonzero(result.copies == 0)[0])
    drop = result.drop(dropped, SOURCES[dropped], SCORES)
    assert drop.reason == "low_quality" and drop.value < drop.threshold  # type: ignore[operator]


def test_quality_and_weights_together_keep_the_shares() -> None:
    result = mixed(scores=SCORES, weights={"a": 3, "b": 1}, epochs={"c": 1.5}, quality={"buckets": BUCKETS})
    kept = read(result)
    assert kept["a"] / kept["b"] == pytest.approx(3, rel=0.01)
    rows = np.array(SOURCES) == "b"
    read_bytes = [(SIZES * result.copies)[rows & (np.quantile(SCORES[rows], q) <= SCORES)].sum() for q in (0.7, 0.9)]
    assert read_bytes[1] / (read_bytes[0] - read_bytes[1]) == pytest.approx(1, abs=0.25), "4 of a tenth, 2 of a fifth"
    assert kept["c"] == pytest.approx(1.5 * (0.3 + 2 * 0.2 + 4 * 0.1) * WHOLE["c"], rel=0.05)


def test_missing_scores_are_named() -> None:
    scores = SCORES.copy()
    scores[:7] = np.nan
    with pytest.raises(InputError, match=r"7 of 1450 documents have no 'quality\.score'"):
        mixed(scores=scores, quality={"buckets": BUCKETS})


def test_a_source_that_gave_nothing_is_named() -> None:
    with pytest.raises(InputError, match="source 'd' has weight 1 and no document left"):
        mix(IDS, SOURCES, SIZES, None, MixtureConfig(weights={"a": 1, "d": 1}), 0, ["a", "b", "c", "d"])
