"""Megatron's models against transformers' of the same weights, against formulas by hand, and the mapping both ways."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.pretrain.families import FAMILIES

Measured = dict[str, dict[str, Any]]

# What transformers' configuration does not hold, or holds in another form, comes back changed.
CHANGED = {
    "llama_ntk": ["rope_scaling", "rope_theta"],  # a larger base is all that it is
    "mixtral": ["ffn_hidden_size"],  # there is no dense layer: the expert's width stands for it
    "dots1": ["moe"],  # how experts were balanced
    "deepseek_v3": ["moe", "mtp"],  # transformers' model has no prediction layers
}


@pytest.fixture(scope="module")
def measured() -> Measured:
    script = Path(__file__).with_name("megatron_model.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_transformers_and_weights_survive_the_round_trip(measured: Measured, family: str) -> None:
    found = measured[family]
    assert found["logits"] < 1e-4
    assert found["control"] > 1e-2, "a changed weight must change the logits"
    assert found["weights"] == 0.0
    assert found["missing"] == []
    assert found["changed_settings"] == CHANGED.get(family, [])


@pytest.mark.parametrize("family", FAMILIES)
def test_counted_parameters_are_those_of_the_built_models(measured: Measured, family: str) -> None:
    found = measured[family]
    assert found["counted"] == found["parameters"]
    assert found["unpadded"] == found["transformers"]


def test_initial_values_by_kind(measured: Measured) -> None:
    found = measured["initial"]
    assert found["residual_std"] == pytest.approx(0.2 / math.sqrt(8), rel=0.05)
    assert found["experts_differ"] > 0.1
    assert found["norm"] == 1.0
    assert found["bias"] == 0.0


def test_document_mask_hides_the_other_documents(measured: Measured) -> None:
    assert measured["document_mask"]["same"] < 1e-5
    assert measured["document_mask"]["leak"] > 1e-3


def test_packed_grouped_attention_equals_the_formula(measured: Measured) -> None:
    assert measured["attention"]["packed"] < 1e-5


def test_fused_adam_equals_torch_adamw(measured: Measured) -> None:
    assert measured["adam"]["difference"] < 1e-5
    assert measured["adam"]["moved"] > 0.1
