"""The configuration files that ship are valid, and listing fields needs none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from millbase.config import load_config
from training.posttrain.config import PosttrainConfig
from training.posttrain.dpo import DpoConfig
from training.posttrain.reward import RewardConfig
from training.posttrain.sft import SftConfig


@pytest.mark.parametrize("name", ["demo", "real"])
@pytest.mark.parametrize(("stage", "config"), [("sft", SftConfig), ("reward", RewardConfig), ("dpo", DpoConfig)])
def test_shipped_configurations(repository: Path, name: str, stage: str, config: type[PosttrainConfig]) -> None:
    loaded = load_config(config, repository / "configs" / "posttrain" / f"{stage}_{name}.yaml")
    assert loaded.eval_data is not None or loaded.eval_share


def test_configuration_classes_import_without_torch(repository: Path) -> None:
    script = (
        "import sys, training.posttrain.sft, training.posttrain.reward, training.posttrain.dpo;"
        "print([name for name in ('torch', 'transformers', 'trl', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
