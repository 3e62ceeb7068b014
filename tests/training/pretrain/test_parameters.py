"""Counts of weights: the presets against what was published, and against transformers' models of the same shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from millbase.config import load_config
from training.pretrain.config import PretrainConfig
from training.pretrain.models.config import ModelConfig
from training.pretrain.parameters import layer_counts, parameter_counts

PRESETS = Path(__file__).resolve().parents[3] / "configs" / "pretrain" / "models"

# name: (vocabulary, exact weights of the released files or None, published total, published active, both in 10^9)
PUBLISHED: dict[str, tuple[int, int | None, float, float | None]] = {
    "gpt2_1.5b": (50257, 1_557_611_200, 1.5, None),  # Radford et al. 2019, table 2 ("1542M"); openai-community/gpt2-xl
    "gpt3_175b": (50257, None, 175.0, None),  # Brown et al. 2020, table 2.1
    "llama_7b": (32000, 6_738_415_616, 6.7, None),  # Touvron et al. 2023, table 2; huggyllama/llama-7b
    "llama_65b": (32000, 65_285_660_672, 65.2, None),
    "llama3_8b": (128256, 8_030_261_248, 8.0, None),  # meta-llama/Meta-Llama-3-8B
    "llama3_70b": (128256, 70_553_706_496, 70.6, None),
    "llama3_405b": (128256, 405_853_388_800, 405.0, None),  # meta-llama/Llama-3.1-405B
    "qwen3_0.6b": (151936, 596_049_920, 0.6, None),  # Yang et al. 2025, table 1; Qwen/Qwen3-0.6B
    "qwen3_1.7b": (151936, 1_720_574_976, 1.7, None),
    "qwen3_4b": (151936, 4_022_468_096, 4.0, None),
    "qwen3_8b": (151936, 8_190_735_360, 8.2, None),
    "qwen3_14b": (151936, 14_768_307_200, 14.8, None),
    "qwen3_32b": (151936, 32_762_123_264, 32.8, None),
    "qwen3_30b_a3b": (151936, 30_532_122_624, 30.5, 3.3),  # Qwen/Qwen3-30B-A3B
    "mixtral_8x7b": (32000, 46_702_792_704, 46.7, 12.9),  # Jiang et al. 2024; mistralai/Mixtral-8x7B-v0.1
    "deepseek_v3": (129280, None, 671.0, 37.0),  # DeepSeek-AI 2024, abstract
    "bert_base": (30522, 109_514_298, 0.110, None),  # Devlin et al. 2018; BertForMaskedLM of bert-base-uncased
    "bert_large": (30522, 335_174_458, 0.340, None),
}
# GPT-2's paper rounds 1.56 down; the others round to the digits given.
TOLERANCE = {"gpt2_1.5b": 0.04}


def preset(name: str) -> PretrainConfig:
    return load_config(PretrainConfig, PRESETS / f"{name}.yaml")


def test_every_preset_has_a_published_count() -> None:
    assert sorted(file.stem for file in PRESETS.glob("*.yaml")) == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_number_of_weights(name: str) -> None:
    vocabulary, exact, total, active = PUBLISHED[name]
    counts = parameter_counts(preset(name).model, vocabulary)
    if exact is not None:
        assert counts.total == exact
    assert counts.total / 1e9 == pytest.approx(total, rel=TOLERANCE.get(name, 0.02))
    if active is None:
        assert counts.active == counts.total
    else:
        assert counts.active / 1e9 == pytest.approx(active, rel=0.02)
    assert sum(counts.parts.values()) == counts.total


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_transformers_model_of_a_preset_has_as_many(name: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    from training.pretrain.models.hf.settings import hf_config

    config, vocabulary = preset(name), PUBLISHED[name][0]
    kind = AutoModelForMaskedLM if config.model.masked_lm else AutoModelForCausalLM
    settings = hf_config(config.model, vocabulary, config.data.sequence_length, config.dtype, {})
    with torch.device("meta"):
        model = kind.from_config(settings)
    counts = parameter_counts(config.model, vocabulary)
    assert sum(weight.numel() for weight in model.parameters()) == counts.total


def test_counts_by_hand() -> None:
    model = ModelConfig(
        layers=2,
        hidden_size=8,
        ffn_hidden_size=16,
        heads=2,
        kv_heads=1,
        qk_norm=True,
        tied_embeddings=False,
        moe={"experts": 4, "top_k": 1, "ffn_hidden_size": 4, "dense_layers": 1},
    )
    # attention: q 8x8, k and v 8x4 each, o 8x8, two norms of 4
    dense, mixed = layer_counts(model, 0), layer_counts(model, 1)
    assert dense.attention == 64 + 32 + 32 + 64 + 8
    assert (dense.feed_forward, dense.experts, dense.router) == (3 * 8 * 16, 0, 0)
    assert (mixed.feed_forward, mixed.router, mixed.experts) == (0, 4 * 8, 4 * 3 * 8 * 4)
    assert mixed.total - mixed.active == 3 * 3 * 8 * 4
    counts = parameter_counts(model, 10)
    assert counts.total == dense.total + mixed.total + 2 * 10 * 8 + 8
