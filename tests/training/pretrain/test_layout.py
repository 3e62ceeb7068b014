"""Layouts that cannot be: one line that names the value and what to change, before any process starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millbase.config import load_config
from millbase.errors import ConfigError, StageError
from training.pretrain.config import PretrainConfig
from training.pretrain.hardware import check_hardware
from training.pretrain.parity import FAMILIES

Tiny = Callable[..., dict[str, Any]]

WRONG = [
    (["parallel.tensor=3"], r"model.heads 4.*not divisible by parallel.tensor 3"),
    (["parallel.tensor=4", "model.kv_heads=2"], r"model.kv_heads 2 not divisible by parallel.tensor 4"),
    (["parallel.pipeline=3"], r"model.layers 4 is not divisible by parallel.pipeline 3"),
    (["parallel.pipeline=2", "parallel.first_stage_layers=4"], r"model.layers 4 \(without the 4"),
    (["parallel.pipeline=2", "parallel.virtual_pipeline=3"], r"virtual_pipeline 3"),
    (["parallel.virtual_pipeline=2"], r"virtual_pipeline 2 needs pipeline > 1"),
    (["parallel.context=3"], r"data.sequence_length 32 is not divisible by 2 \* parallel.context = 6"),
    (["parallel.sequence_parallel=true"], r"sequence_parallel needs tensor > 1"),
    (["parallel.expert=2", "parallel.data=2"], r"need a model with experts"),
    (["parallel.expert=2"], r"expert 2 \* expert_tensor 1 does not divide tensor \* context \* data = 1"),
    (["parallel.data=3"], r"global_batch_size 8 is not divisible by micro_batch_size 2 \* parallel.data 3"),
    (
        ["parallel.pipeline=4", "parallel.virtual_pipeline=2", "model.layers=8", "micro_batch_size=4"],
        r"interleaved schedule takes micro-batches in groups",
    ),
    (["parallel.overlap_param_gather=true"], r"overlap_param_gather needs overlap_grad_reduce"),
    (["optimizer.kind=muon"], r"optimizer.kind muon works with parallel.zero 0, not 1"),
    (["parallel.zero=3", "parallel.pipeline=2"], r"parallel.zero 3 does not go with parallel.pipeline 2; set"),
    (["parallel.zero=2", "parallel.overlap_grad_reduce=true"], r"zero 2 does not go with parallel.overlap_grad_reduce"),
    (["fp8=hybrid"], r"fp8 hybrid needs dtype: bfloat16"),
    (["batch_ramp.start=3", "batch_ramp.sequences=9"], r"batch_ramp.start 3 is not divisible"),
    (["batch_ramp.start=6", "batch_ramp.sequences=9"], r"batch_ramp does not reach global_batch_size 8 from start 6"),
    (
        ["parallel.recompute.granularity=full", "parallel.recompute.layers=5"],
        r"recompute.layers 5 is more than the 4 layers",
    ),
    (
        ["parallel.recompute.granularity=selective", "parallel.recompute.modules=[mla_up_proj]"],
        r"mla_up_proj needs model.mla",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), WRONG)
def test_impossible_layouts_are_refused(tiny: Tiny, overrides: list[str], message: str) -> None:
    values = tiny(model={**FAMILIES["dense"]})
    load_config(PretrainConfig, values)
    with pytest.raises(ConfigError, match=message):
        load_config(PretrainConfig, values, overrides)


@pytest.mark.parametrize(
    ("parallel", "message"),
    [
        ({"tensor": 2}, "experts under parallel.tensor > 1 need parallel.sequence_parallel"),
        ({"data": 3, "expert": 3}, "model.moe.experts 4 is not divisible by parallel.expert 3"),
    ],
)
def test_impossible_layouts_of_experts_are_refused(tiny: Tiny, parallel: dict[str, Any], message: str) -> None:
    values = tiny(model=FAMILIES["moe"], parallel=parallel, global_batch_size=12)
    with pytest.raises(ConfigError, match=message):
        load_config(PretrainConfig, values)


def test_what_this_machine_cannot_do_is_said(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_hardware(load_config(PretrainConfig, tiny()))
    for values, message in (
        (tiny(dtype="bfloat16", fp8="hybrid"), "fp8 hybrid needs a GPU"),
        (tiny(kernels="transformer_engine"), "kernels transformer_engine needs a GPU"),
    ):
        with pytest.raises(StageError, match=message):
            check_hardware(load_config(PretrainConfig, values))
