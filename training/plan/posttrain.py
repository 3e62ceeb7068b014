"""Memory of a post-training stage: which models are in memory at once, trained or frozen, and what their passes keep.

    plan_stage(Stage("ppo", model, 32_000, rows=4, length=2048, reward=True), find_gpu("h100"), gpus=8)

PPO holds four models (Ouyang et al. 2022): policy and value model are trained, reference and reward model are not. With
mixed-precision Adam (16 bytes a weight) and frozen models in bfloat16 that is 36 bytes a weight: 243 GB at 6.7 billion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millbase.errors import ConfigError
from training.plan.flops import train_flops_per_token
from training.plan.hardware import Gpu
from training.plan.layout import Layout, Precision
from training.plan.memory import FRAGMENTATION, RESERVED, rank_memory
from training.pretrain.models.config import ModelConfig
from training.pretrain.parameters import parameter_counts

GIB = 2.0**30
TRAINED = {
    "sft": ("policy",),
    "reward": ("reward model",),
    "prm": ("reward model",),
    "dpo": ("policy",),
    "kto": ("policy",),
    "distill": ("student",),
    "ppo": ("policy", "value model"),
    "grpo": ("policy",),
    "online-dpo": ("policy",),
    "reject": (),
    "feedback": (),
    "critique": (),
}
"""Models that each kind of stage trains."""
FROZEN = {
    "dpo": ("reference",),
    "kto": ("reference",),
    "distill": ("teacher",),
    "ppo": ("reference",),
    "grpo": ("reference",),
    "online-dpo": ("reference",),
    "reject": ("policy",),
    "feedback": ("policy",),
    "critique": ("policy",),
}
"""Models that it only reads."""
SAMPLES = ("ppo", "grpo", "online-dpo", "reject", "feedback", "critique")
"""Kinds that let the policy write."""
PAIRS = ("dpo", "reward", "online-dpo")
"""Kinds whose rows are pairs of sequences."""


@dataclass(frozen=True)
class Stage:
    """One post-training stage."""

    kind: str
    model: ModelConfig
    vocab_size: int
    rows: int
    """Sequences of a forward and backward pass (DPO, reward models: pairs)."""
    length: int
    """Tokens of the longest sequence."""
    sampled: int = 0
    """Completions sampled at once."""
    reward: bool = False
    """A reward model of the policy's size scores completions."""
    judge: bool = False
    """A judge (or critic) of the policy's size is in this process too."""
    reference: bool = True
    """The reference (or teacher) is in memory while training."""
    checkpointing: bool = False
    lora_rank: int | None = None
    frozen_bytes: float = 4.0
    """Bytes a weight of frozen models; ours are loaded in float32, 2 is bfloat16."""
    precision: Precision = field(default_factory=lambda: Precision(4.0, 4.0, 8.0))
    """Ours: float32 weights and Adam, bfloat16 arithmetic on a GPU; 16 bytes a weight, as mixed precision has."""
    logit_rows: int | None = None
    """Positions whose logits exist at once; null: all of a pass."""


def stage_of(
    kind: str, fields: Mapping[str, Any], model: ModelConfig, vocab_size: int, frozen_bytes: float = 4.0
) -> Stage:
    """The stage that a configuration describes (its fields as a dictionary, defaults included)."""
    if kind not in TRAINED:
        raise ConfigError(f"no memory plan for stage {kind!r}; there is one for {', '.join(TRAINED)}")
    prompt = fields.get("max_prompt_length") or 0
    answer = fields.get("max_new_tokens") or fields.get("max_completion_length") or 0
    length = fields.get("max_length") or (prompt + answer) or model.max_positions
    rows = fields.get("micro_batch_size") or fields.get("batch_size") or 1
    lora = fields.get("lora") or None
    reward, judges = fields.get("reward"), [fields.get(name) for name in ("judge", "critic")]
    exact = fields.get("precision") == "float32" and fields.get("device") == "cpu"
    return Stage(
        kind=kind,
        model=model,
        vocab_size=vocab_size,
        rows=int(rows),
        length=int(length),
        sampled=int(fields.get("sampling_batch_size") or fields.get("rollout_size") or rows) if kind in SAMPLES else 0,
        reward=bool(isinstance(reward, Mapping) and reward.get("model")),
        judge=any(isinstance(judge, Mapping) and judge.get("model") for judge in judges),
        reference=not fields.get("precompute_reference", False),
        checkpointing=bool(fields.get("gradient_checkpointing", False)),
        lora_rank=None if lora is None else int(lora.get("rank", 16)),
        frozen_bytes=frozen_bytes,
        precision=Precision(4.0, 4.0, 8.0, 4.0 if exact else 2.0),
        logit_rows=fields.get("logit_chunk"),
    )


def state_bytes(stage: Stage) -> dict[str, float]:
    """Bytes of every model's weights, gradients and optimizer state."""
    weights = parameter_counts(stage.model, stage.vocab_size).total
    held: dict[str, float] = {}
    for name in TRAINED[stage.kind]:
        if stage.lora_rank is None:
            held[name] = weights * stage.precision.per_weight
        else:
            held[name] = (
                weights * stage.precision.weights
                + lora_weights(stage.model, stage.lora_rank) * stage.precision.per_weight
            )
    if stage.reference:
        for name in FROZEN.get(stage.kind, ()):
            held[name] = weights * stage.frozen_bytes
    if stage.reward:
        held["reward model"] = weights * stage.frozen_bytes
    if stage.judge:
        held["judge"] = weights * stage.frozen_bytes
    return held


def lora_weights(model: ModelConfig, rank: int) -> float:
    """Weights of adapters on every linear layer: rank x (inputs + outputs) of each (Hu et al. 2021)."""
    hidden, width = model.hidden_size, model.heads * model.kv_channels
    keys = model.query_groups * model.kv_channels
    sizes = [(hidden, width), (hidden, keys), (hidden, keys), (width, hidden)]
    sizes += [(hidden, model.ffn_hidden_size)] * (3 if model.gated else 2)
    return float(model.layers * rank * sum(a + b for a, b in sizes))


def pass_bytes(stage: Stage) -> dict[str, float]:
    """Bytes that one forward and backward pass keeps, and the keys and values of what is being sampled."""
    if not TRAINED[stage.kind]:
        return {"keys and values of sampling": _sampling_bytes(stage)}
    rows = stage.rows * (2 if stage.kind in PAIRS else 1)
    layout = Layout(micro_batch=rows, zero=0, recompute="full" if stage.checkpointing else "none")
    rank = rank_memory(stage.model, stage.vocab_size, stage.length, rows, layout, stage.precision, 0)
    positions = min(rows * stage.length, stage.logit_rows or rows * stage.length)
    # float32 logits, their softmax's gradient, and the half-precision original
    logits = positions * stage.vocab_size * (4 + 4 + stage.precision.activations)
    if stage.kind in ("reward", "prm"):
        logits = 0.0
    found = {"activations": rank.activations, "working": rank.working, "logits": logits}
    if stage.kind in SAMPLES:
        found["keys and values of sampling"] = _sampling_bytes(stage)
    return found


def _sampling_bytes(stage: Stage) -> float:
    keys = 2 * stage.model.query_groups * stage.model.kv_channels * stage.precision.activations
    return float(stage.sampled * stage.length * stage.model.layers * keys)


def _training_assumptions(stage: Stage) -> list[str]:
    if not TRAINED[stage.kind]:
        return []
    adapters = f", adapters of rank {stage.lora_rank} only" if stage.lora_rank else ""
    again = ", activations computed again (gradient_checkpointing)" if stage.checkpointing else ""
    rows = f"{stage.rows} {'pairs' if stage.kind in PAIRS else 'rows'} of {stage.length} tokens"
    return [f"trained models: {stage.precision.per_weight:g} bytes a weight{adapters}", f"a pass of {rows}{again}"]


def plan_stage(stage: Stage, gpu: Gpu, gpus: int = 1) -> dict[str, Any]:
    """GiB of one process, which holds all models; and what sharding the states over `gpus` would make of it."""
    states, passes = state_bytes(stage), pass_bytes(stage)
    # sampling and training take turns
    sampling = passes.pop("keys and values of sampling", 0.0)
    moment = max(sum(passes.values()), sampling)
    total = (sum(states.values()) + moment) * (1 + FRAGMENTATION) + RESERVED
    sharded = (sum(states.values()) / gpus + moment) * (1 + FRAGMENTATION) + RESERVED
    counts = parameter_counts(stage.model, stage.vocab_size)
    return {
        "stage": stage.kind,
        "gpu": gpu.to_dict(),
        "gpus": gpus,
        "parameters": {"total": counts.total, "active": counts.active},
        "states_gib": {name: value / GIB for name, value in states.items()},
        "states_gb": sum(states.values()) / 1e9,
        "states_bytes_per_parameter": sum(states.values()) / counts.total,
        "pass_gib": {name: value / GIB for name, value in passes.items()},
        "sampling_gib": sampling / GIB,
        "total": total / GIB,
        "total_sharded": sharded / GIB,
        "capacity": gpu.memory,
        "fits": total <= gpu.memory_bytes,
        "fits_sharded": sharded <= gpu.memory_bytes,
        "train_flops_per_token": train_flops_per_token(stage.model, stage.vocab_size, stage.length),
        "assumptions": [
            *_training_assumptions(stage),
            f"frozen models: {stage.frozen_bytes:g} bytes a weight",
            *([f"{stage.sampled} answers of {stage.length} tokens sampled at once"] if stage.sampled else []),
            "every process holds all models; `sharded` is what ZeRO-3 over all devices would need, which the stages "
            "here do not do",
            f"driver and libraries {RESERVED / GIB:g} GiB, the allocator's gaps {FRAGMENTATION:.0%}",
        ],
    }
