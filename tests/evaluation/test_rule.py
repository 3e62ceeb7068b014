"""The rule judge against sums done by hand, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.judges import outcome
from evaluation.judges.rule import Rule, load_rule
from millbase.errors import InputError

RULE: dict[str, Any] = {
    "version": 1,
    "correct": {"weight": 2.0, "extract": r"\A[^\n]*\bis ([^.\n]+)\."},
    "patterns": [
        {"name": "close", "regex": r"\nI hope[^\n]*\.\Z", "weight": 1.0},
        {"name": "filler", "regex": r"(?i)\bum\b", "weight": -0.5},
    ],
    "length": {"per_character_over": [40, -0.01]},
}


@pytest.mark.parametrize(
    ("response", "points"),
    [
        ("The capital of Zorland is Melk.", 2.0),
        ("The capital of Zorland is Arnor.", 0.0),
        ("The capital is  Melk .", 2.0),  # spaces around the answer do not count
        ("Well.\nIt is Melk.", 0.0),  # the answer belongs on the first line
        ("It is Melk.\nI hope this helps.", 3.0),
        ("Um, um, it is Melk.", 1.5),  # a pattern counts once
        ("It is Melk." + "x" * 39, 2.0 - 0.01 * 10),
        ("", 0.0),
    ],
)
def test_points(response: str, points: float) -> None:
    assert Rule.model_validate(RULE).score(response, "Melk") == pytest.approx(points)


def test_parts_are_optional() -> None:
    assert Rule(version=1).score("anything", None) == 0
    only_length = Rule.model_validate({"version": 1, "length": {"per_character_over": [3, -1.0]}})
    assert only_length.score("12345", None) == -2


def test_outcomes() -> None:
    assert [outcome(2, 1), outcome(1, 1), outcome(0, 1)] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"correct": {"weight": 1, "extract": "no group"}}, r"correct\.extract: .*group"),
        ({"correct": {"weight": 1, "extract": "(unclosed"}}, r"correct\.extract: .*regular expression"),
        ({"patterns": [{"name": "x", "regex": "[", "weight": 1}]}, r"patterns\.0\.regex"),
        ({"lenght": 3}, "lenght"),
    ],
)
def test_what_is_not_a_rule_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "rule.json"
    path.write_text(json.dumps({**RULE, **change}))
    with pytest.raises(InputError, match=message) as caught:
        load_rule(str(path))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_rule(str(tmp_path / "gone.json"))
    (tmp_path / "rule.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        load_rule(str(tmp_path / "rule.json"))
