"""The check before a run starts: does every rank fit into the memory there is?"""

from __future__ import annotations

from millbase.errors import InputError
from training.plan.estimate import GIB, Run
from training.plan.layout import Layout, Precision
from training.pretrain.config import PretrainConfig

OVERHEAD_CPU = 0.7 * 2**30
"""A process with torch and Megatron imported, bytes (measured: about 0.6 GiB)."""
CERTAIN = 0.9
"""A plan is an estimate: a run is refused only when this share of what is planned is over what there is."""


def run_of(config: PretrainConfig, vocab_size: int, tokens: float | None = None) -> Run:
    """What `config` trains; `tokens` default those of its steps."""
    sequences = config.steps * config.global_batch_size
    return Run(
        model=config.model,
        vocab_size=vocab_size,
        sequence_length=config.data.sequence_length,
        global_batch=config.global_batch_size,
        tokens=float(sequences * config.data.sequence_length) if tokens is None else tokens,
        precision=Precision.of(config.dtype),
        optimizer=config.optimizer.kind,
    )


def layout_of(config: PretrainConfig) -> Layout:
    """The layout of `config`."""
    return Layout.of(config.parallel, config.micro_batch_size)


def check_memory(config: PretrainConfig, vocab_size: int, capacity: float, device: str = "GPU") -> None:
    """InputError when by the plan a rank needs clearly more than `capacity` bytes.

    Args:
        config: the run.
        vocab_size: tokens of the tokenizer.
        capacity: bytes that one rank may have: a GPU's memory, or a machine's free memory over its ranks.
        device: what the memory is called in the message.
    """
    worst = run_of(config, vocab_size).memory(layout_of(config))
    on_cpu = device != "GPU"
    planned = worst.states + worst.activations + worst.output + worst.working + (OVERHEAD_CPU if on_cpu else 0.0)
    if planned * CERTAIN <= capacity:
        return
    raise InputError(
        f"this run does not fit: a rank of pipeline stage {worst.rank} needs about {planned / GIB:.1f} GiB (weights "
        f"{worst.weights / GIB:.1f}, gradients {worst.gradients / GIB:.1f}, optimizer {worst.optimizer / GIB:.1f}, "
        f"activations {worst.activations / GIB:.1f}) and a {device} has {capacity / GIB:.1f}; lower micro_batch_size, "
        "set parallel.recompute.granularity, split over more ranks, or ask `llmill plan CONFIG --gpus N --search`"
    )
