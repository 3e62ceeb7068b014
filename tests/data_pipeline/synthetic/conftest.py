"""A small synthetic web, built once for the whole session."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.synthetic import SyntheticWebConfig, build_synthetic_web
from data_pipeline.synthetic.config import PosttrainSizes

SMALL = SyntheticWebConfig(
    seed=7,
    pages=300,
    encyclopedia_files=2,
    web_files=2,
    posttrain=PosttrainSizes(
        instructions_train=900, instructions_heldout=200, preferences_train=500, preferences_heldout=150,
        prompts_train=300, prompts_heldout=100, quality_positive=40, quality_negative=20,
    ),
)  # fmt: skip


def read_rows(path: Path) -> list[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def small_config() -> SyntheticWebConfig:
    return SMALL


@pytest.fixture(scope="session")
def small_web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_synthetic_web(SMALL, tmp_path_factory.mktemp("synthetic") / "web")


@pytest.fixture(scope="session")
def truth(small_web: Path) -> list[dict[str, Any]]:
    return read_rows(small_web / "truth.jsonl.gz")
