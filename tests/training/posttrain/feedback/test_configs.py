"""The configuration files that ship are valid, and listing fields needs none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from millbase.config import Config, load_config
from training.posttrain.feedback.config import CritiqueConfig, FeedbackConfig, OnlineDpoConfig, RejectConfig


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("reject_sums", RejectConfig),
        ("feedback", FeedbackConfig),
        ("critique", CritiqueConfig),
        ("online_dpo_sums", OnlineDpoConfig),
    ],
)
def test_shipped_configurations(repository: Path, name: str, config: type[Config]) -> None:
    load_config(config, repository / "configs" / "posttrain" / f"{name}.yaml")


def test_configuration_classes_import_without_torch(repository: Path) -> None:
    script = (
        "import sys, training.posttrain.feedback.config, training.posttrain.feedback.sums, millbase.judge.ranking;"
        "print([name for name in ('torch', 'transformers', 'trl', 'datasets', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
