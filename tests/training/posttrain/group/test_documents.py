"""The page about group methods names only tests, checks and methods that exist."""

from __future__ import annotations

import re
import typing
from pathlib import Path

from training.posttrain.group.config import PRESETS, GroupConfig
from training.posttrain.verifiable import SCORERS

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parents[3] / "docs" / "group.md").read_text(encoding="utf-8")


def test_every_test_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    defined = {name for file in HERE.glob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert len(named) > 20
    assert not named - defined


def first_column(heading: str) -> list[str]:
    table = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)`", table, re.MULTILINE)


def test_every_method_and_check_is_described() -> None:
    methods = typing.get_args(GroupConfig.model_fields["method"].annotation)
    assert first_column("Methods")[1:] == list(methods) == list(PRESETS)
    assert first_column("Verifiable rewards")[1:] == list(SCORERS)
