"""The page about PPO names only tests that exist, and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from millbase.config import Config
from training.posttrain.ppo import PpoConfig

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[3] / "docs" / "ppo.md"


def test_every_test_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    defined = {name for file in HERE.glob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert len(named) > 50
    assert not named - defined


def test_every_detail_has_a_test() -> None:
    """Each row of the three tables ends with at least one test."""
    tables = PAGE.read_text(encoding="utf-8").split("### ")[1:4]
    for table in tables:
        body = [line for line in table.split("\n## ")[0].splitlines() if line.startswith("|")][2:]
        assert body and all("`test_" in line for line in body)


def test_every_setting_named_exists() -> None:
    tables = "".join(PAGE.read_text(encoding="utf-8").split("### ")[1:3])
    settings = [cell for line in tables.splitlines() if line.startswith("|") for cell in line.split("|")[3:4]]
    names = {name for cell in settings for name in re.findall(r"`([\w.]+)`", cell)}
    assert len(names) > 30
    assert not [name for name in names if not exists(PpoConfig, name)]


def exists(config: Any, name: str) -> bool:
    """Whether a dotted name is a field of a configuration class."""
    head, _, rest = name.partition(".")
    if head not in config.model_fields:
        return False
    if not rest:
        return True
    annotation = config.model_fields[head].annotation
    classes = [annotation, *getattr(annotation, "__args__", ())]
    return any(isinstance(c, type) and issubclass(c, Config) and exists(c, rest) for c in classes)
