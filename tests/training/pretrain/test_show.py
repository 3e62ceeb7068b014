"""`llmill tokens show` names what a step trains on; `llmill pretrain --skip-steps` is the field of that name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from llmill.cli.app import app
from millbase.config import load_config
from millbase.errors import ArtifactError, InputError
from training.pretrain import PretrainConfig
from training.pretrain.data import TrainingData

Tiny = Callable[..., dict[str, Any]]


def invoke(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def file(tiny: Tiny, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tiny()))
    return path


def test_the_pieces_shown_are_the_tokens_of_the_batch(tiny: Tiny, toy_tokens: Path, file: Path) -> None:
    shown = [json.loads(line) for line in invoke("tokens", "show", str(file), "--step", "3", "--json").splitlines()]
    rows = [
        row
        for shard in sorted((toy_tokens / "train").glob("*.arrow"))
        for row in pa.ipc.open_file(str(shard)).read_all().to_pylist()
    ]
    by_id = {row["id"]: row["tokens"] for row in rows}
    data = TrainingData(load_config(PretrainConfig, tiny()))
    batches = list(data.step(3, 0))
    data.close()
    sequences = [row for batch in batches for row in batch.tokens.tolist()]
    for number, tokens in enumerate(sequences, start=24):
        pieces = [by_id[s["id"]][s["start"] : s["end"]] for s in shown if s["sequence"] == number]
        assert [t for piece in pieces for t in piece][:-1] == tokens
    assert {s["source"] for s in shown} == {"toy"}


def test_it_prints_lines_for_people_with_text_and_what_is_skipped(file: Path) -> None:
    printed = invoke("tokens", "show", str(file), "skip_steps=['3:4']", "--step", "3", "--text").splitlines()
    assert "doc-" in printed[0]
    assert "tokens/toy" in printed[0]
    assert any(word in printed[1] for word in ("mill", "flour", "bread", "grain", "the", "endoftext"))
    assert printed[-1].startswith("step 3 (skipped by skip_steps): ")


def test_an_unfinished_run_is_shown_by_its_output(tiny: Tiny, tmp_path: Path, file: Path) -> None:
    scratch = tmp_path / ".run.work" / "scratch"
    scratch.mkdir(parents=True)
    config = load_config(PretrainConfig, tiny())
    (scratch / "run.json").write_text(json.dumps({"config": config.to_dict()}))
    assert invoke("tokens", "show", str(tmp_path / "run"), "--step", "2") == invoke(
        "tokens", "show", str(file), "--step", "2"
    )
    with pytest.raises(ArtifactError, match="is no pretraining run"):
        invoke("tokens", "show", str(tmp_path), "--step", "2")
    with pytest.raises(InputError, match="used up"):
        invoke("tokens", "show", str(file), "data.sources=[{name: a, max_epochs: 1}]", "--step", "900")


def test_skip_steps_on_the_command_line(file: Path) -> None:
    printed = yaml.safe_load(
        invoke("pretrain", str(file), "--skip-steps", "1:20", "--skip-steps", "30:31", "--print-config")
    )
    assert printed["skip_steps"] == ["1:20", "30:31"]
