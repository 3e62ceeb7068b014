"""Equal configurations give equal bytes, whatever the process."""

import json
import os
import subprocess
import sys
from pathlib import Path

from data_pipeline.synthetic import SyntheticWebConfig, build_synthetic_web
from millbase.artifacts import open_artifact
from millbase.config import load_config


def test_artifact_verifies_and_counts(small_web: Path, small_config: SyntheticWebConfig) -> None:
    manifest = open_artifact(small_web, kind="synthetic-web")
    assert manifest.stats["pages"] == sum(manifest.stats["kinds"].values()) == small_config.pages
    assert manifest.stats["rows"]["instructions/train"] == small_config.posttrain.instructions_train
    assert manifest.seed == small_config.seed


def test_another_process_with_another_hash_seed_writes_the_same_bytes(
    small_web: Path, small_config: SyntheticWebConfig, tmp_path: Path, repository: Path
) -> None:
    script = (
        "import json, sys\n"
        "from data_pipeline.synthetic import SyntheticWebConfig, build_synthetic_web\n"
        "build_synthetic_web(SyntheticWebConfig(**json.loads(sys.argv[1])), sys.argv[2])\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", script, json.dumps(small_config.to_dict()), str(tmp_path / "again")]
    subprocess.run(command, check=True, cwd=repository, env=environment)
    names = sorted(str(path.relative_to(small_web)) for path in small_web.rglob("*") if path.is_file())
    assert names == sorted(
        str(p.relative_to(tmp_path / "again")) for p in (tmp_path / "again").rglob("*") if p.is_file()
    )
    for name in set(names) - {"manifest.json"}:
        assert (small_web / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), f"{name} differs"
    assert open_artifact(small_web).digest == open_artifact(tmp_path / "again").digest


def test_another_seed_makes_another_web(small_web: Path, small_config: SyntheticWebConfig, tmp_path: Path) -> None:
    other = build_synthetic_web(small_config.model_copy(update={"seed": 8}), tmp_path / "other")
    for name in ("truth.jsonl.gz", "instructions/train.jsonl", "tasks/world_facts_mc.jsonl"):
        assert (small_web / name).read_bytes() != (other / name).read_bytes()


def test_committed_configuration_is_valid(repository: Path) -> None:
    config = load_config(SyntheticWebConfig, repository / "configs" / "corpus" / "synthetic_web.yaml", [])
    assert config == SyntheticWebConfig()


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
