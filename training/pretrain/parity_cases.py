"""The layouts that must train the same model as one process: which layout for which family, on up to four processes."""

from __future__ import annotations

from typing import Any

from training.pretrain.parity import FAMILIES, Case

_SPLIT = {"tensor": 2, "sequence_parallel": True}
_OVERLAP = {"zero": 1, "overlap_grad_reduce": True, "overlap_param_gather": True, "bucket_size": 20_000}
_EVERYTHING = ("dense", "tied", "moe", "mla", "mtp", "deepseek")
_NO_EXPERTS = ("dense", "tied", "mla", "mtp")
_EXPERTS = ("moe", "deepseek")

LAYOUTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "recompute full": ({"recompute": {"granularity": "full"}}, _EVERYTHING),
    "recompute block": ({"recompute": {"granularity": "full", "method": "block", "layers": 2}}, ("dense", "moe")),
    "recompute attention": ({"recompute": {"granularity": "selective"}}, _EVERYTHING),
    "recompute mlp": ({"recompute": {"granularity": "selective", "modules": ["layernorm", "mlp"]}}, ("dense",)),
    "recompute experts": ({"recompute": {"granularity": "selective", "modules": ["moe"]}}, ("moe",)),
    "recompute latent": ({"recompute": {"granularity": "selective", "modules": ["mla_up_proj"]}}, ("mla",)),
    "TP2": ({"tensor": 2}, _NO_EXPERTS),
    "TP2 SP": (_SPLIT, _EVERYTHING),
    "PP2": ({"pipeline": 2}, _EVERYTHING),
    "PP2 uneven": ({"pipeline": 2, "first_stage_layers": 1, "last_stage_layers": 3}, ("dense", "mtp")),
    "PP2 interleaved": ({"pipeline": 2, "virtual_pipeline": 2}, _EVERYTHING),
    "DP2": ({"data": 2, "zero": 0}, _EVERYTHING),
    "DP2 ZeRO-1": ({"data": 2, "zero": 1}, _EVERYTHING),
    "DP2 ZeRO-1 overlap": ({"data": 2, **_OVERLAP}, _EVERYTHING),
    "DP2 overlap": ({"data": 2, "zero": 0, "overlap_grad_reduce": True, "bucket_size": 20_000}, ("dense",)),
    "DP2 ZeRO-2": ({"data": 2, "zero": 2}, _EVERYTHING),
    "DP2 ZeRO-3": ({"data": 2, "zero": 3}, _EVERYTHING),
    "DP2 ZeRO-3 recompute": ({"data": 2, "zero": 3, "recompute": {"granularity": "full"}}, ("dense", "moe")),
    "CP2": ({"context": 2}, _EVERYTHING),
    "EP2": ({"data": 2, "expert": 2}, _EXPERTS),
    "EP2 ZeRO-0": ({"data": 2, "expert": 2, "zero": 0}, ("moe",)),
    "EP2 in TP2 SP": ({**_SPLIT, "expert": 2, "expert_tensor": 1}, _EXPERTS),
    "EP2 in CP2": ({"context": 2, "expert": 2}, _EXPERTS),
    "TP2xPP2": ({"tensor": 2, "pipeline": 2}, _NO_EXPERTS),
    "TP2xPP2 SP": ({**_SPLIT, "pipeline": 2}, _EVERYTHING),
    "TP2xPP2 SP interleaved recompute": (
        {**_SPLIT, "pipeline": 2, "virtual_pipeline": 2, "recompute": {"granularity": "full"}},
        _EVERYTHING,
    ),
    "TP2xDP2 SP ZeRO-1 overlap": ({**_SPLIT, "data": 2, **_OVERLAP}, _EVERYTHING),
    "PP2xDP2 interleaved overlap": ({"pipeline": 2, "virtual_pipeline": 2, "data": 2, **_OVERLAP}, _EVERYTHING),
    "TP2xCP2": ({"tensor": 2, "context": 2}, _NO_EXPERTS),
    "TP2xCP2 SP": ({**_SPLIT, "context": 2}, _EVERYTHING),
    "PP2xCP2": ({"pipeline": 2, "context": 2}, _EVERYTHING),
    "CP2xDP2 ZeRO-1": ({"context": 2, "data": 2}, _EVERYTHING),
    "CP4": ({"context": 4}, ("dense", "mla")),
    "DP4 ZeRO-1": ({"data": 4}, _EVERYTHING),
    "DP4 ZeRO-3": ({"data": 4, "zero": 3}, ("dense", "tied")),
    "TP2xDP2 SP ZeRO-2": ({**_SPLIT, "data": 2, "zero": 2}, ("dense", "deepseek")),
    "TP2xDP2 ZeRO-3": ({"tensor": 2, "data": 2, "zero": 3}, ("dense",)),
    "TP2xDP2 SP ZeRO-3": ({**_SPLIT, "data": 2, "zero": 3}, _EVERYTHING),
    "CP2xDP2 ZeRO-3": ({"context": 2, "data": 2, "zero": 3}, ("dense", "moe", "mla")),
    "EP2xTP2 SP": ({**_SPLIT, "data": 2, "expert": 2, "expert_tensor": 1}, _EXPERTS),
    "EP2xETP2 SP": ({**_SPLIT, "data": 2, "expert": 2}, _EXPERTS),
    "EP2xPP2": ({"pipeline": 2, "data": 2, "expert": 2}, _EXPERTS),
    "EP4": ({"data": 4, "expert": 4}, _EXPERTS),
}
"""Name: (fields of ParallelConfig, families)."""

MASKED = ("TP2 SP", "PP2", "CP2", "DP2 ZeRO-1")
"""Layouts also run with documents masked from one another, for `dense` and `mla`."""

COMPACT = (
    ("dense", "recompute full"),
    ("dense", "TP2"),
    ("tied", "TP2 SP"),
    ("tied", "PP2 interleaved"),
    ("dense", "DP2 ZeRO-1 overlap"),
    ("dense", "CP2"),
    ("tied", "DP2 ZeRO-3"),
    ("moe", "EP2"),
    ("mla", "TP2"),
    ("mtp", "PP2"),
)
"""Family and layout of the few that every test run measures, on two processes at most."""


def all_cases() -> list[Case]:
    """The whole matrix."""
    cases = [
        Case(family, layout, dict(parallel))
        for layout, (parallel, families) in LAYOUTS.items()
        for family in FAMILIES
        if family in families
    ]
    masked = [Case(family, name, dict(LAYOUTS[name][0]), {}, True) for family in ("dense", "mla") for name in MASKED]
    z_loss = [
        Case("dense", f"{name} z-loss", dict(LAYOUTS[name][0]), {"optimizer.z_loss": 1e-2}) for name in ("TP2", "CP2")
    ]
    muon = {"optimizer.kind": "muon", "parallel.zero": "0"}
    by_muon = [
        Case(family, f"{name} Muon", dict(LAYOUTS[name][0]), muon)
        for family, name in (("dense", "TP2"), ("tied", "PP2"), ("moe", "EP2"), ("deepseek", "TP2 SP"))
    ]
    return [*cases, *masked, *z_loss, *by_muon]


def compact_cases() -> list[Case]:
    """The few for every test run."""
    return [Case(family, layout, dict(LAYOUTS[layout][0])) for family, layout in COMPACT]
