"""Layouts that fit, best first, and why the best is best.

A layout is tried without recomputation, then with selective, then with full: the first that fits is the fastest of
the three, since recomputing costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from training.plan.estimate import GIB, Run, describe, mfu
from training.plan.hardware import Gpu
from training.plan.layout import Layout
from training.plan.memory import RankMemory
from training.plan.timing import StepTime

_ABOUT = ("tensor", "pipeline", "chunks", "context", "expert", "zero", "micro_batch", "recompute")


@dataclass(frozen=True)
class Found:
    """One layout that was looked at."""

    layout: Layout
    memory: RankMemory
    time: StepTime | None
    """None when it does not fit."""

    @property
    def seconds(self) -> float:
        """Of a step; infinite when it does not fit."""
        return self.time.total if self.time else float("inf")


def search(run: Run, gpus: int, gpu: Gpu) -> list[Found]:
    """Every layout of `gpus` devices, those that fit first, by time of a step, then by memory."""
    found = []
    for shape in shapes(run, gpus, gpu):
        for recompute, modules in _recomputes(run):
            layout = replace(shape, recompute=recompute, recompute_modules=modules)
            memory = run.memory(layout)
            fits = memory.total <= gpu.memory_bytes
            found.append(Found(layout, memory, run.time(layout, gpu) if fits else None))
            if fits:
                break
    return sorted(found, key=lambda one: (one.seconds, one.memory.total))


def shapes(run: Run, gpus: int, gpu: Gpu) -> Iterator[Layout]:
    """Every way to divide `gpus` that the model, the batch and Megatron allow (see training/pretrain/layout.py)."""
    model = run.model
    for tensor in (n for n in _powers(min(gpus, gpu.node)) if _splits(run, n)):
        for pipeline in (n for n in range(1, model.layers + 1) if gpus % (tensor * n) == 0 and model.layers % n == 0):
            for context in _powers(gpus // (tensor * pipeline)):
                data, rest = divmod(gpus, tensor * pipeline * context)
                if rest or not _cuts(run.sequence_length, context, tensor):
                    continue
                base = Layout(
                    tensor=tensor, pipeline=pipeline, context=context, data=data, sequence_parallel=tensor > 1
                )
                yield from _details(run, base)


def _details(run: Run, base: Layout) -> Iterator[Layout]:
    model = run.model
    for micro in (1, 2, 4, 8, 16):
        if run.global_batch % (micro * base.data):
            continue
        count = run.global_batch // (micro * base.data)
        for chunks in _chunks(model.layers // base.pipeline, base.pipeline, count):
            for expert, inside in _expert_sizes(run, base):
                whole = base.pipeline == 1 and expert == 1 and inside == base.tensor
                for zero in (1, 2, 3) if whole and run.optimizer != "muon" else (1,):
                    yield replace(
                        base, micro_batch=micro, chunks=chunks, expert=expert, expert_tensor=inside, zero=zero
                    )


def _chunks(layers: int, pipeline: int, count: int) -> list[int]:
    """Model chunks of a rank: interleaving takes micro-batches in groups of the pipeline's size."""
    if pipeline == 1 or count % pipeline:
        return [1]
    return [n for n in (1, 2, 3, 4, 5, 6, 8) if layers % n == 0]


def _expert_sizes(run: Run, base: Layout) -> list[tuple[int, int]]:
    moe = run.model.moe
    if moe is None:
        return [(1, base.tensor)]
    ranks = base.tensor * base.replicas
    sizes = [n for n in _powers(moe.experts) if moe.experts % n == 0]
    return [(n, inside) for n in sizes for inside in sorted({1, base.tensor}) if ranks % (n * inside) == 0]


def _recomputes(run: Run) -> list[tuple[str, tuple[str, ...]]]:
    modules = ("core_attn", "moe") if run.model.moe else ("core_attn", "mlp")
    return [("none", ("core_attn",)), ("selective", modules), ("full", ("core_attn",))]


def _splits(run: Run, tensor: int) -> bool:
    model = run.model
    sizes = [model.heads, model.vocab_multiple]
    sizes += [model.ffn_hidden_size] if model.moe is None or model.moe.dense_layers else []
    sizes += [model.query_groups] if model.mla is None else [model.mla.kv_rank + model.mla.rope_head_dim]
    return all(size % tensor == 0 for size in sizes)


def _cuts(length: int, context: int, tensor: int) -> bool:
    """The sequence can be cut so; pieces under 1,024 tokens are not worth the exchange."""
    if context > 1 and (length % (2 * context) or length // context < 1024):
        return False
    return length % (context * tensor) == 0


def _powers(limit: int) -> list[int]:
    return [2**n for n in range(limit.bit_length()) if 2**n <= limit]


def summary(run: Run, found: list[Found], gpu: Gpu, top: int = 10) -> dict[str, Any]:
    """The best layouts as plain values, how many were looked at, and why the first is first."""
    fitting = [one for one in found if one.time is not None]
    return {
        "tried": len(found),
        "fit": len(fitting),
        "best": [_row(run, one, gpu) for one in fitting[:top]],
        "why": explain(found, gpu) if fitting else [smallest(found, gpu)],
    }


def smallest(found: list[Found], gpu: Gpu) -> str:
    """When nothing fits: what comes nearest."""
    if not found:
        return "no layout divides this model and batch over so many devices; change --gpus or global_batch_size"
    least = min(found, key=lambda one: one.memory.total)
    return (
        f"no layout fits {gpu.memory:g} GiB: the smallest needs {least.memory.total / GIB:.1f} GiB "
        f"({_name(least.layout)}); take more devices, a shorter sequence, or a smaller model"
    )


def explain(found: list[Found], gpu: Gpu) -> list[str]:
    """For each choice of the best layout, what the next best one with another choice loses."""
    best = found[0]
    assert best.time is not None
    parts = _parts(best.time)
    heavy = sorted(((value, name) for name, value in parts.items() if name != "compute"), reverse=True)[:2]
    lost = ", ".join(f"{name} {value / best.time.total:.0%}" for value, name in heavy)
    lines = [f"{_name(best.layout)}: {best.time.compute / best.time.total:.0%} of the step is computation; then {lost}"]
    for about in _ABOUT:
        ours = getattr(best.layout, about)
        rivals = [one for one in found if getattr(one.layout, about) != ours]
        if rivals:
            lines.append(_difference(about, getattr(rivals[0].layout, about), best, rivals[0], rivals, gpu))
    return lines


def _difference(about: str, value: Any, best: Found, rival: Found, rivals: list[Found], gpu: Gpu) -> str:
    name = {"chunks": "virtual_pipeline", "micro_batch": "micro_batch_size"}.get(about, about)
    if rival.time is None:
        least = min(rivals, key=lambda one: one.memory.total)
        return f"any other {name}: does not fit, {least.memory.total / GIB:.1f} of {gpu.memory:g} GiB at best"
    assert best.time is not None
    slower = rival.time.total / best.time.total - 1
    ours, theirs = _parts(best.time), _parts(rival.time)
    more = {part: theirs.get(part, 0.0) - ours.get(part, 0.0) for part in {*ours, *theirs}}
    part = max(sorted(more), key=lambda key: more[key])
    if slower < 0.0005:
        return f"{name} {value}: as fast, and needs {rival.memory.total / GIB:.1f} GiB ({_name(rival.layout)})"
    return f"{name} {value}: {slower:+.1%}, mostly {part} ({more[part] * 1e3:+,.0f} ms a step; {_name(rival.layout)})"


def _parts(time: StepTime) -> dict[str, float]:
    parts = {"compute": time.compute, "recomputation": time.recompute, "pipeline bubble": time.bubble}
    parts |= {f"{kind} communication": value for kind, value in time.exposed.items()}
    return parts | {"optimizer": time.optimizer}


def _name(layout: Layout) -> str:
    words = [f"tensor {layout.tensor}", f"pipeline {layout.pipeline}"]
    words += [f"virtual {layout.chunks}"] if layout.chunks > 1 else []
    words += [f"context {layout.context}"] if layout.context > 1 else []
    words += [f"expert {layout.expert}x{layout.expert_tensor}"] if layout.expert > 1 else []
    words += [f"data {layout.data}", f"zero {layout.zero}", f"micro-batch {layout.micro_batch}"]
    return ", ".join([*words, f"recompute {layout.recompute}"])


def _row(run: Run, one: Found, gpu: Gpu) -> dict[str, Any]:
    assert one.time is not None
    return {
        **describe(one.layout),
        "step_seconds": one.time.total,
        "mfu": mfu(run, one.time.total, one.layout.ranks, gpu),
        "memory_gib": one.memory.total / GIB,
        "overrides": overrides(one.layout),
    }


def overrides(layout: Layout) -> str:
    """The layout as it is given on the command line of `llmill pretrain`."""
    words = [f"parallel.{name}={value}" for name, value in _parallel_fields(layout).items()]
    if layout.recompute != "none":
        words.append(f"parallel.recompute.granularity={layout.recompute}")
    if layout.recompute == "selective":
        words.append(f"'parallel.recompute.modules=[{','.join(layout.recompute_modules)}]'")
    return " ".join([*words, f"micro_batch_size={layout.micro_batch}"])


def _parallel_fields(layout: Layout) -> dict[str, Any]:
    fields: dict[str, Any] = {"tensor": layout.tensor, "pipeline": layout.pipeline, "data": layout.data}
    if layout.chunks > 1:
        fields["virtual_pipeline"] = layout.chunks
    if layout.context > 1:
        fields["context"] = layout.context
    if layout.expert > 1 or layout.expert_tensor != layout.tensor:
        fields |= {"expert": layout.expert, "expert_tensor": layout.expert_tensor}
    if layout.sequence_parallel:
        fields["sequence_parallel"] = "true"
    fields["zero"] = layout.zero
    if layout.overlap and layout.zero < 2:  # which overlap by themselves
        fields |= {"overlap_grad_reduce": "true", "overlap_param_gather": "true"}
    return fields
