"""Training, saving and export of the families that are not Llama, as a user runs them; runs from given weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millbase.config import load_config
from millbase.errors import InputError
from tests.training.pretrain.families import FAMILIES, SHAPE
from training.pretrain import PretrainConfig, pretrain
from training.pretrain.convert import ExportConfig, ImportConfig, export_model, import_model

Tiny = Callable[..., dict[str, Any]]


def values(tiny: Tiny, tokens: Path, family: str, **changes: Any) -> dict[str, Any]:
    model = SHAPE | FAMILIES[family] | {"init_std": 0.02}
    if family == "bert":
        model["masked_lm"] = {"mask_token": "<|pad|>"}  # the toy tokenizer's spare special token
    return tiny(model=model, data={"tokens": str(tokens), "sequence_length": 64}, steps=20) | changes


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def stats(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "manifest.json").read_text())["stats"]
    return found


@pytest.fixture(scope="module")
def gpt2(tiny: Tiny, toy_tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("families") / "gpt2"
    return pretrain(load_config(PretrainConfig, values(tiny, toy_tokens, "gpt2")), out)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", ["qwen3_moe", "dots1", "deepseek_v3", "bert", "llama_yarn"])
def test_a_family_learns_and_is_exported(tiny: Tiny, toy_tokens: Path, tmp_path: Path, family: str) -> None:
    run = pretrain(load_config(PretrainConfig, values(tiny, toy_tokens, family)), tmp_path / "run")
    found = losses(run)
    assert found[-1] < found[0] - 0.1
    assert stats(run)["export_max_logit_difference"] < 1e-4
    # a masked-LM loss is of hidden tokens only, and so no measure of the whole text
    assert ("bits_per_byte" in stats(run), "val_loss" in stats(run)) == (family != "bert", True)
    if family in ("dots1", "deepseek_v3"):
        assert correction_bias(run) > 0, "experts are balanced by their biases"
    # the same weights, by the command that needs no run
    again = export_model(ExportConfig(checkpoint=str(run)), tmp_path / "again")
    assert (again / "hf" / "model.safetensors").read_bytes() == (run / "hf" / "model.safetensors").read_bytes()


def correction_bias(run: Path) -> float:
    from safetensors.torch import load_file

    weights = load_file(run / "hf" / "model.safetensors")
    return max(float(w.abs().max()) for name, w in weights.items() if name.endswith("correction_bias"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_starts_from_given_weights_in_either_form(
    gpt2: Path, tiny: Tiny, toy_tokens: Path, tmp_path: Path
) -> None:
    assert losses(gpt2)[-1] < losses(gpt2)[0] - 0.5
    imported = import_model(ImportConfig(model=str(gpt2 / "hf")), tmp_path / "imported")
    frozen = {"steps": 1, "optimizer": {"learning_rate": 1e-12}, "schedule": {"warmup_steps": 0}}
    for number, source in enumerate((gpt2 / "hf", imported)):
        start = {"checkpoint": {"weights_from": str(source)}}
        config = load_config(PretrainConfig, values(tiny, toy_tokens, "gpt2", seed=9, **frozen, **start))
        run = pretrain(config, tmp_path / f"run{number}")
        assert stats(run)["val_loss"] == pytest.approx(stats(gpt2)["val_loss"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_weights_of_another_model_are_refused_before_any_rank_starts(
    gpt2: Path, tiny: Tiny, toy_tokens: Path, tmp_path: Path
) -> None:
    start = {"checkpoint": {"weights_from": str(gpt2)}}
    other = values(tiny, toy_tokens, "gpt2", **start)
    other["model"] = other["model"] | {"hidden_size": 32, "ffn_hidden_size": 64}
    with pytest.raises(InputError, match=r"model.ffn_hidden_size 160 \(configured: 64\).*model.hidden_size 64"):
        pretrain(load_config(PretrainConfig, other), tmp_path / "run")
    assert not (tmp_path / "run").exists()
