"""Layouts train the same model as one process: a few of the matrix here, all of it with the slow tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.pretrain.parity import FAMILIES, Case, Outcome, measure
from training.pretrain.parity_cases import COMPACT, LAYOUTS, all_cases, compact_cases

BOUND = 2e-5
OTHER = Case("dense", "another seed", {}, {"seed": "2"})


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Outcome]:
    outcomes = measure([*compact_cases(), OTHER], tmp_path_factory.mktemp("parity"))
    return {(o.case.family, o.case.layout): o for o in outcomes}


@pytest.mark.parametrize(("family", "layout"), COMPACT)
def test_a_layout_trains_the_same_model(compact: dict[tuple[str, str], Outcome], family: str, layout: str) -> None:
    outcome = compact[family, layout]
    assert outcome.error == ""
    assert outcome.loss <= BOUND
    assert outcome.norm <= BOUND


def test_the_matrix_names_every_layout_once_and_every_family() -> None:
    cases = all_cases()
    names = [case.name for case in cases]
    assert len(names) == len(set(names))
    assert {case.family for case in cases} == set(FAMILIES)
    assert {case.world_size for case in cases} == {1, 2, 4}
    assert all(family in FAMILIES for _, families in LAYOUTS.values() for family in families)


def test_another_model_is_told_apart(compact: dict[tuple[str, str], Outcome]) -> None:
    """The comparison can fail: other initial weights are far outside the bound."""
    outcome = compact["dense", OTHER.layout]
    assert outcome.error == ""
    assert outcome.loss > 100 * BOUND
    assert outcome.norm > 100 * BOUND


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_matrix(tmp_path: Path, family: str) -> None:
    outcomes = measure([case for case in all_cases() if case.family == family], tmp_path)
    wrong = [(o.case.layout, o.loss, o.norm, o.error) for o in outcomes if not (o.loss <= BOUND and o.norm <= BOUND)]
    assert not wrong
