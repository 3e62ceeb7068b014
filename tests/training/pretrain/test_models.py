"""Model configurations: families, what is refused, rotary frequencies against transformers' own."""

from __future__ import annotations

from typing import Any

import pytest

from millbase.config import load_config
from millbase.errors import ConfigError
from tests.training.pretrain.families import FAMILIES, tiny
from training.pretrain.config import PretrainConfig
from training.pretrain.models.config import ModelConfig

MOE = {"experts": 4, "ffn_hidden_size": 32}
SIGMOID = MOE | {"score": "sigmoid", "shared_experts": 1}
CLASSIC = {"norm": "layer", "activation": "gelu", "biases": True, "positions": "learned", "kv_heads": None}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_family_follows_from_the_parts(name: str) -> None:
    assert tiny(name).family == {"deepseek_dense": "deepseek_v3"}.get(
        name, name.split("_")[0] if "llama" in name else name
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"moe": MOE | {"top_k": 5}}, ["moe.top_k 5", "moe.experts 4"]),
        ({"moe": MOE | {"expert_bias": True}}, ["expert_bias", "sigmoid"]),
        ({"moe": MOE | {"shared_experts": 1}}, ["mixtral", "no shared_experts"]),
        ({"moe": MOE | {"dense_layers": 6}, "qk_norm": True}, ["dense_layers 6", "6 layers"]),
        ({"moe": SIGMOID}, ["dots1", "qk_norm: true"]),
        ({"moe": SIGMOID | {"shared_experts": 0}, "mla": {}}, ["deepseek_v3", "shared_experts of at least 1"]),
        ({"moe": SIGMOID | {"groups": 2, "top_groups": 2}, "mla": {}}, ["top_k 2", "twice", "top_groups 2"]),
        ({"moe": MOE | {"groups": 2}}, ["groups and moe.top_groups"]),
        ({"mla": {}, "qk_norm": True}, ["deepseek_v3", "no qk_norm"]),
        ({"positions": "learned"}, ["gpt2", "norm: layer", "activation", "biases: true", "kv_heads: null"]),
        (CLASSIC | {"moe": MOE}, ["neither moe"]),
        (CLASSIC | {"positions": "rope", "masked_lm": {}}, ["bert", "positions: learned"]),
        ({"rope_scaling": {"kind": "yarn", "factor": 2.0}}, ["yarn", "original_length"]),
        ({"rope_scaling": {"kind": "linear", "factor": 0.5}}, ["rope_scaling.factor"]),
        ({"masked_lm": {"masked": 0.9, "random": 0.2}}, ["0.9", "0.2", "exceed 1"]),
    ],
)
def test_what_is_no_model_is_refused(model: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(ModelConfig, model)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": CLASSIC | {"max_positions": 64}}, ["sequence_length 256", "max_positions 64"]),
        (
            {"model": CLASSIC | {"masked_lm": {}}, "data": {"tokens": "x", "mask_across_documents": True}},
            ["mask_across_documents", "masked_lm"],
        ),
    ],
)
def test_models_and_data_that_do_not_go_together(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(PretrainConfig, {"data": {"tokens": "x"}} | values)
    for word in words:
        assert word in str(caught.value)


def test_an_old_configuration_is_still_read() -> None:
    model = load_config(
        ModelConfig, {"layers": 6, "hidden_size": 192, "ffn_hidden_size": 512, "heads": 6, "kv_heads": 2}
    )
    assert model == ModelConfig()
    assert model.family == "llama"


@pytest.mark.parametrize("kind", ["linear", "yarn", "llama3"])
@pytest.mark.parametrize("dim", [16, 64, 128])
def test_scaled_frequencies_are_those_of_transformers(kind: str, dim: int) -> None:
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    from training.pretrain.models.hf.settings import hf_config
    from training.pretrain.models.rope import inverse_frequencies

    scaling = {"kind": kind, "factor": 8.0, "original_length": 4096}
    model = ModelConfig(hidden_size=4 * dim, heads=4, kv_heads=4, rope_theta=500_000.0, rope_scaling=scaling)
    settings = hf_config(model, 100, 32768, "float32", {})
    theirs, factor = ROPE_INIT_FUNCTIONS[kind](settings, torch.device("cpu"))
    assert torch.equal(inverse_frequencies(model), theirs)
    assert factor == pytest.approx(1.0 if kind != "yarn" else 1.2079441541679836)  # 0.1 ln 8 + 1


def test_ntk_slows_the_slowest_pair_by_the_factor_and_keeps_the_fastest() -> None:
    from training.pretrain.models.rope import inverse_frequencies

    shape = {"hidden_size": 256, "heads": 4, "kv_heads": 4}
    plain = inverse_frequencies(ModelConfig(**shape))
    scaled = inverse_frequencies(ModelConfig(**shape, rope_scaling={"kind": "ntk", "factor": 8.0}))
    assert float(scaled[0]) == float(plain[0]) == 1.0
    assert float(plain[-1] / scaled[-1]) == pytest.approx(8.0, rel=1e-4)
