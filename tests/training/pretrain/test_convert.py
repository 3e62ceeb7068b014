"""Hugging Face folders to checkpoints and back without Megatron, file by file, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from millbase.errors import ArtifactError, InputError
from tests.training.pretrain.conftest import write_tokenizer
from tests.training.pretrain.families import VOCAB, random_hf, tiny
from training.pretrain.convert import ExportConfig, ImportConfig, export_model, import_model
from training.pretrain.models.hf.files import HFWeights
from training.pretrain.models.source import check_same_model, find_model

ROUND_TRIPS = ["llama_llama3", "gpt2", "mixtral", "dots1", "deepseek_v3", "bert"]


def saved(name: str, folder: Path, **save: Any) -> Path:
    random_hf(tiny(name)).save_pretrained(folder, **save)
    write_tokenizer(folder)
    return folder


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    files = HFWeights(folder)
    return {name: files.tensor(name) for name in files.names}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("llama", tmp_path_factory.mktemp("hf") / "llama", max_shard_size="200KB")


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_in_and_out_again_is_the_same_model(name: str, tmp_path: Path) -> None:
    theirs = saved(name, tmp_path / "theirs", max_shard_size="300KB")
    made = import_model(ImportConfig(model=str(theirs)), tmp_path / "made")
    assert json.loads((made / "manifest.json").read_text())["stats"]["not_imported"] == []
    ours = export_model(ExportConfig(checkpoint=str(made), file_gigabytes=0.0002), tmp_path / "ours") / "hf"
    before, after = tensors(theirs), tensors(ours)
    assert set(before) == set(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert len(list(ours.glob("*.safetensors"))) > 2
    assert max(file.stat().st_size for file in ours.glob("*.safetensors")) < 320_000
    old, new = (json.loads((folder / "config.json").read_text()) for folder in (theirs, ours))
    # details of training, and what only transformers' generation looks at
    free = {"transformers_version", "router_aux_loss_coef", "num_nextn_predict_layers", "num_mtp_layers"}
    assert {key: value for key, value in old.items() if new.get(key) != value and key not in free} == {}
    assert find_model(made).digest == json.loads((made / "manifest.json").read_text())["digest"]


def test_weights_nobody_has_a_place_for_are_named(llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "hf")
    index = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())
    save_file({"score.weight": torch.ones(2, 3)}, tmp_path / "hf" / "more.safetensors")
    index["weight_map"]["score.weight"] = "more.safetensors"
    (tmp_path / "hf" / "model.safetensors.index.json").write_text(json.dumps(index))
    made = import_model(ImportConfig(model=str(tmp_path / "hf"), dtype="bfloat16"), tmp_path / "made")
    assert json.loads((made / "manifest.json").read_text())["stats"]["not_imported"] == ["score.weight"]
    source = find_model(made)
    assert source.dtype == "bfloat16"
    embedding = source.weights()("embedding.word_embeddings.weight", (), (384, 64))
    assert embedding.dtype == torch.bfloat16
    assert embedding.shape == (384, 64), "padded to a multiple of 128"
    assert not embedding[VOCAB:].any()


def test_old_names_are_understood(tmp_path: Path) -> None:
    folder = saved("bert", tmp_path / "bert")
    new = load_file(folder / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in new.items()
    }
    save_file(old, folder / "model.safetensors")
    files = HFWeights(folder)
    assert torch.equal(files.tensor("bert.embeddings.LayerNorm.bias"), new["bert.embeddings.LayerNorm.bias"])
    assert "bert.embeddings.LayerNorm.weight" in files
    assert "bert.pooler.dense.weight" not in files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "opt"}, "type 'opt' cannot be imported; known: bert"),
        ({"attention_bias": True}, "attention_bias is True, only False"),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_type 'dynamic'"),
        ({"num_key_value_heads": 3}, "heads 4 is not divisible by kv_heads 3"),
    ],
)
def test_what_we_do_not_have_is_refused_by_name(
    llama: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    shutil.copytree(llama, tmp_path / "hf")
    file = tmp_path / "hf" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=words):
        import_model(ImportConfig(model=str(tmp_path / "hf")), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_damaged_folders_are_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_model(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no config\.json"):
        find_model(tmp_path)
    for number, (damage, words) in enumerate(
        (
            (lambda folder: sorted(folder.glob("*.safetensors"))[1].unlink(), "is missing, its index names it"),
            (lambda folder: sorted(folder.glob("*.safetensors"))[0].write_bytes(b"x" * 50), "not readable"),
            (lambda folder: (folder / "model.safetensors.index.json").unlink(), "pickled weights are not read"),
        )
    ):
        folder = tmp_path / str(number)
        shutil.copytree(llama, folder)
        damage(folder)
        with pytest.raises(InputError, match=words):
            import_model(ImportConfig(model=str(folder)), tmp_path / "made")


def test_a_changed_or_foreign_checkpoint_is_refused(llama: Path, tmp_path: Path) -> None:
    made = import_model(ImportConfig(model=str(llama)), tmp_path / "made")
    with pytest.raises(InputError, match="has no Megatron checkpoint"):
        export_model(ExportConfig(checkpoint=str(llama)), tmp_path / "out")
    with pytest.raises(InputError, match="is a Megatron checkpoint already"):
        import_model(ImportConfig(model=str(made)), tmp_path / "out")
    (made / "megatron" / "common.pt").write_bytes(b"changed")
    with pytest.raises(ArtifactError, match="changed"):
        export_model(ExportConfig(checkpoint=str(made)), tmp_path / "out")


def test_only_the_same_model_may_lend_its_weights(llama: Path) -> None:
    source = find_model(llama)
    check_same_model(source, tiny("llama", rope_theta=1e6, mtp={"depth": 1}, vocab_multiple=64), VOCAB + 10)
    with pytest.raises(InputError, match=r"model.layers 4 \(configured: 8\); model.norm_epsilon 1e-05"):
        check_same_model(source, tiny("llama", layers=8, norm_epsilon=1e-6), VOCAB)
    with pytest.raises(InputError, match=r"a vocabulary of 300 \(the tokens have 299\)"):
        check_same_model(source, tiny("llama"), VOCAB - 1)
