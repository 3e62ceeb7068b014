"""Which layouts a model can be given, checked before any process starts, and the layout in Megatron's terms.

`check_layout` refuses what Megatron would only find out, rank by rank, after the process groups are up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.pretrain.config import PretrainConfig


def check_layout(config: PretrainConfig) -> None:
    """ValueError, with every reason and what to change, when the model or the batch cannot be split as asked."""
    problems = [
        *_matrices(config),
        *_layers(config),
        *_sequences(config),
        *_experts(config),
        *_batches(config),
        *_unsupported(config),
        *_fully_sharded(config),
    ]
    if problems:
        raise ValueError("; ".join(problems))


def _matrices(config: PretrainConfig) -> Iterator[str]:
    """Tensor parallelism: what is cut into `tensor` equal parts."""
    model, size = config.model, config.parallel.tensor
    parts: dict[str, int | None] = {"heads": model.heads, "vocab_multiple": model.vocab_multiple}
    if model.moe is None or model.moe.dense_layers:
        parts["ffn_hidden_size"] = model.ffn_hidden_size
    if model.moe is not None and model.moe.shared_experts:
        parts["moe.shared_experts * moe.ffn_hidden_size"] = model.moe.shared_width
    if model.mla is None:
        parts["kv_heads"] = model.query_groups
    else:
        parts["mla.kv_rank + mla.rope_head_dim"] = model.mla.kv_rank + model.mla.rope_head_dim
        parts["mla.q_rank"] = model.mla.q_rank
    uneven = [f"model.{name} {value}" for name, value in parts.items() if value is not None and value % size]
    if uneven:
        yield f"{', '.join(uneven)} not divisible by parallel.tensor {size}; change one of them"
    inside = config.parallel.expert_tensor or size
    if model.moe is not None and model.moe.ffn_hidden_size % inside:
        yield (
            f"model.moe.ffn_hidden_size {model.moe.ffn_hidden_size} is not divisible by parallel.expert_tensor "
            f"{inside}; change one of them"
        )


def _layers(config: PretrainConfig) -> Iterator[str]:
    """Pipeline parallelism: all stages get as many layers, but for the first and the last on request."""
    layout = config.parallel
    left, stages = config.model.layers, layout.pipeline
    for name in ("first_stage_layers", "last_stage_layers"):
        given = getattr(layout, name)
        if given is None:
            continue
        left, stages = left - given, stages - 1
        if given % layout.virtual_pipeline:
            yield (
                f"parallel.{name} {given} is not divisible by parallel.virtual_pipeline {layout.virtual_pipeline}; "
                "change one"
            )
    if left < stages or (left != 0 if stages == 0 else left % (stages * layout.virtual_pipeline)):
        given = config.model.layers - left
        rest = f" (without the {given} of the stages set by hand: {left})" if given else ""
        yield (
            f"model.layers {config.model.layers}{rest} is not divisible by parallel.pipeline "
            f"{stages} * virtual_pipeline {layout.virtual_pipeline}; change one, or set parallel.first_stage_layers or "
            "last_stage_layers"
        )


def _sequences(config: PretrainConfig) -> Iterator[str]:
    """Context and sequence parallelism: what is cut along the sequence."""
    length, layout = config.data.sequence_length, config.parallel
    if layout.context > 1 and length % (2 * layout.context):
        yield (
            f"data.sequence_length {length} is not divisible by 2 * parallel.context = {2 * layout.context}; change one"
        )
    elif layout.sequence_parallel and length % (layout.context * layout.tensor):
        yield (
            f"data.sequence_length {length} is not divisible by parallel.tensor {layout.tensor}"
            + (f" * parallel.context {layout.context}" if layout.context > 1 else "")
            + ", which sequence_parallel needs; change one"
        )


def _experts(config: PretrainConfig) -> Iterator[str]:
    """Expert parallelism: every rank of a group holds as many experts."""
    moe, layout = config.model.moe, config.parallel
    if moe is None:
        if layout.expert > 1 or layout.expert_tensor not in (None, layout.tensor):
            yield "parallel.expert and expert_tensor need a model with experts; unset them or set model.moe"
        return
    if moe.experts % layout.expert:
        yield f"model.moe.experts {moe.experts} is not divisible by parallel.expert {layout.expert}; change one"
    if layout.tensor > 1 and not layout.sequence_parallel:
        yield "experts under parallel.tensor > 1 need parallel.sequence_parallel: true; set it"


def _batches(config: PretrainConfig) -> Iterator[str]:
    """Data parallelism and the interleaved schedule: micro-batches of a rank in a step."""
    layout, ramp = config.parallel, config.batch_ramp
    share = config.micro_batch_size * layout.data
    # The interleaved schedule runs micro-batches in groups of as many as there are stages.
    group = layout.pipeline if layout.virtual_pipeline > 1 else 1
    what = f"micro_batch_size {config.micro_batch_size} * parallel.data {layout.data}"
    if group > 1:
        what += f" * parallel.pipeline {group} (the interleaved schedule takes micro-batches in groups)"
    sizes = {"global_batch_size": config.global_batch_size}
    if ramp.start is not None:
        sizes |= {"batch_ramp.start": ramp.start, "batch_ramp.increment": ramp.increment or ramp.start}
    for name, size in sizes.items():
        if size % (share * group):
            yield f"{name} {size} is not divisible by {what} = {share * group}; change one of them"
    if ramp.start is not None:
        step = ramp.increment or ramp.start
        if ramp.start > config.global_batch_size or (config.global_batch_size - ramp.start) % step:
            yield (
                f"batch_ramp does not reach global_batch_size {config.global_batch_size} from start {ramp.start} in "
                f"steps of {step}; change one of them"
            )


def _unsupported(config: PretrainConfig) -> Iterator[str]:
    """Combinations that Megatron-core 0.16 gets wrong or does not have."""
    layout, recompute = config.parallel, config.parallel.recompute
    chunk = config.model.layers // layout.chunks
    if recompute.granularity == "full" and recompute.layers > chunk:
        yield f"parallel.recompute.layers {recompute.layers} is more than the {chunk} layers of a model chunk; lower it"
    if recompute.granularity == "selective":
        needs = {"moe": config.model.moe, "moe_act": config.model.moe, "mla_up_proj": config.model.mla}
        for name, part in needs.items():
            if name in recompute.modules and part is None:
                yield f"parallel.recompute.modules {name} needs model.{name.split('_')[0]}; take it out"
    if config.fp8 != "none" and config.dtype != "bfloat16":
        yield f"fp8 {config.fp8} needs dtype: bfloat16; set it or fp8: none"
    if config.optimizer.kind == "muon" and layout.zero > 0:
        # A matrix is orthogonalised whole; Megatron's distributed optimizer cuts through matrices.
        yield f"optimizer.kind muon works with parallel.zero 0, not {layout.zero}; set it"


def _fully_sharded(config: PretrainConfig) -> Iterator[str]:
    """What `fully_sharded.py` (ZeRO-2 and ZeRO-3) does not go together with."""
    layout = config.parallel
    if layout.zero < 2:
        return
    against = {
        f"parallel.pipeline {layout.pipeline}": layout.pipeline > 1,
        f"parallel.expert {layout.expert}": layout.expert > 1,
        f"parallel.expert_tensor {layout.expert_tensor}": layout.expert_tensor not in (None, layout.tensor),
        "parallel.overlap_grad_reduce (it overlaps by itself)": layout.overlap_grad_reduce,
        "parallel.bucket_size (its buckets are the layers)": layout.bucket_size is not None,
        f"fp8 {config.fp8}": config.fp8 != "none",
    }
    found = [name for name, given in against.items() if given]
    if found:
        yield f"parallel.zero {layout.zero} does not go with {', '.join(found)}; set parallel.zero 1 or unset those"


def layout_options(config: PretrainConfig) -> dict[str, Any]:
    """The layout, precision and recomputation as keyword arguments of Megatron's TransformerConfig."""
    import torch

    layout, recompute = config.parallel, config.parallel.recompute
    dtype = getattr(torch, config.dtype)
    options: dict[str, Any] = {
        "tensor_model_parallel_size": layout.tensor,
        "pipeline_model_parallel_size": layout.pipeline,
        "virtual_pipeline_model_parallel_size": layout.virtual_pipeline if layout.virtual_pipeline > 1 else None,
        "num_layers_in_first_pipeline_stage": layout.first_stage_layers,
        "num_layers_in_last_pipeline_stage": layout.last_stage_layers,
        "context_parallel_size": layout.context,
        "expert_model_parallel_size": layout.expert,
        "expert_tensor_parallel_size": layout.expert_tensor or layout.tensor,
        "sequence_parallel": layout.sequence_parallel,
        "params_dtype": dtype,
        "pipeline_dtype": dtype,
        "bf16": dtype == torch.bfloat16,
    }
    if layout.virtual_pipeline > 1:
        # Sends and receives of the interleaved schedule are posted one by one; batching them is for NCCL alone.
        options |= {"overlap_p2p_comm": True, "batch_p2p_comm": False}
    if recompute.granularity == "full":
        options |= {"recompute_granularity": "full", "recompute_method": recompute.method}
        options |= {"recompute_num_layers": recompute.layers}
    elif recompute.granularity == "selective":
        options |= {"recompute_granularity": "selective", "recompute_modules": list(recompute.modules)}
    if config.fp8 != "none":
        options |= {"fp8": config.fp8, "fp8_recipe": "delayed"}
    return options
