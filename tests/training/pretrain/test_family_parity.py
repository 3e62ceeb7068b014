"""GPT-2 and BERT train alike on every layout: learned positions, biases, BERT's head and segments split over ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.pretrain.parity import Case, measure

_CLASSIC = {
    "model.norm": "layer",
    "model.biases": "true",
    "model.positions": "learned",
    "model.max_positions": "32",
    "model.kv_heads": "null",
    "model.tied_embeddings": "true",
}
_GPT2 = {**_CLASSIC, "model.activation": "gelu_tanh"}
_BERT = {**_CLASSIC, "model.activation": "gelu", "model.masked_lm": "{token_types: 2}"}
LAYOUTS = {
    "TP2": {"tensor": 2},
    "TP2 SP": {"tensor": 2, "sequence_parallel": True},
    "PP2": {"pipeline": 2},
    "DP2": {"data": 2},
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_losses_are_those_of_one_process(tmp_path: Path) -> None:
    cases = [
        Case("dense", f"{name} {layout}", parallel, settings)
        for name, settings in (("gpt2", _GPT2), ("bert", _BERT))
        for layout, parallel in LAYOUTS.items()
    ]
    for outcome in measure(cases, tmp_path):
        assert not outcome.error, outcome
        assert outcome.loss < 2e-5, outcome
        assert outcome.norm < 1e-4, outcome
