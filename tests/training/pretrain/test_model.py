"""The Megatron model against transformers' Llama and Qwen3, against formulas by hand, and the mapping both ways."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

Measured = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def measured() -> Measured:
    script = Path(__file__).with_name("megatron_model.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "variant", ["llama_gqa_tied", "llama_gqa_untied", "llama_mha_theta", "qwen3_tied", "qwen3_untied"]
)
def test_logits_equal_transformers_and_weights_survive_the_round_trip(measured: Measured, variant: str) -> None:
    found = measured[variant]
    assert found["logits"] < 1e-4
    assert found["control"] > 1e-2, "a changed weight must change the logits"
    assert found["weights"] == 0.0
    assert found["missing"] == 0


def test_document_mask_hides_the_other_documents(measured: Measured) -> None:
    assert measured["document_mask"]["same"] < 1e-5
    assert measured["document_mask"]["leak"] > 1e-3


def test_packed_grouped_attention_equals_the_formula(measured: Measured) -> None:
    assert measured["attention"]["packed"] < 1e-5


def test_fused_adam_equals_torch_adamw(measured: Measured) -> None:
    assert measured["adam"]["difference"] < 1e-5
    assert measured["adam"]["moved"] > 0.1
