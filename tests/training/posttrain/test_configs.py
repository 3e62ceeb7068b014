"""The configuration files that ship are valid, and listing fields needs none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from millbase.config import load_config
from training.posttrain.config import PosttrainConfig
from training.posttrain.dpo import DpoConfig
from training.posttrain.ensemble import EnsembleConfig
from training.posttrain.kto import KtoConfig
from training.posttrain.prm import PrmConfig
from training.posttrain.reward import RewardConfig
from training.posttrain.sft import SftConfig

STAGES: dict[str, tuple[type[PosttrainConfig], tuple[str, ...]]] = {
    "sft": (SftConfig, ("demo", "real")),
    "reward": (RewardConfig, ("demo", "real")),
    "dpo": (DpoConfig, ("demo", "real")),
    "kto": (KtoConfig, ("demo",)),
    "prm": (PrmConfig, ("demo",)),
}


@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage, (_, names) in STAGES.items() for name in names])
def test_shipped_configurations(repository: Path, stage: str, name: str) -> None:
    loaded = load_config(STAGES[stage][0], repository / "configs" / "posttrain" / f"{stage}_{name}.yaml")
    assert loaded.eval_data is not None or loaded.eval_share


def test_the_shipped_ensemble(repository: Path) -> None:
    loaded = load_config(EnsembleConfig, repository / "configs" / "posttrain" / "reward_ensemble_demo.yaml")
    assert len(loaded.members) == 3 and loaded.data is not None


def test_configuration_classes_import_without_torch(repository: Path) -> None:
    script = (
        "import sys;"
        "from training.posttrain import distill, dpo, ensemble, kto, prm, reward, sft;"
        "print([name for name in ('torch', 'transformers', 'trl', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
