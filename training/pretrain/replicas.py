"""The model's chunks made data-parallel, and the optimizer that moves them, as the configuration says."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer

from millbase.errors import StageError
from training.pretrain.config import PretrainConfig

_STRATEGY = {2: "optim_grads", 3: "optim_grads_params"}


def check_hardware(config: PretrainConfig) -> None:
    """StageError when this machine cannot do what the configuration asks; before any process group starts."""
    gpu = torch.cuda.is_available()
    if config.parallel.zero > 1 and not gpu:
        raise StageError(
            f"parallel.zero {config.parallel.zero} (Megatron-FSDP) needs GPUs and this machine has none; set "
            "parallel.zero=1, which spreads the optimizer's state"
        )
    if config.fp8 == "none":
        return
    from importlib.util import find_spec

    if not gpu or torch.cuda.get_device_capability() < (8, 9):
        name = torch.cuda.get_device_name() if gpu else "a CPU"
        raise StageError(
            f"fp8 {config.fp8} needs a GPU of compute capability 8.9 or more (Ada, Hopper, Blackwell) not {name}; "
            "set fp8=none"
        )
    if find_spec("transformer_engine") is None:
        raise StageError(
            f"fp8 {config.fp8} needs Transformer Engine, which is not installed; pip install "
            "transformer-engine[pytorch] or set fp8=none"
        )


def replicate(config: PretrainConfig, chunks: list[Any]) -> list[Any]:
    """Each chunk with buffers for its gradients and their sum over replicas; sets the schedule's callbacks."""
    layout = config.parallel
    sharded = layout.zero > 1
    options = DistributedDataParallelConfig(
        use_distributed_optimizer=layout.zero > 0,
        grad_reduce_in_fp32=True,
        overlap_grad_reduce=layout.overlap_grad_reduce or sharded,
        overlap_param_gather=layout.overlap_param_gather or layout.zero == 3,
        bucket_size=layout.bucket_size,
        use_megatron_fsdp=sharded,
        data_parallel_sharding_strategy=_STRATEGY.get(layout.zero, "no_shard"),
    )
    megatron = chunks[0].config
    if sharded:
        from megatron.core.distributed.fsdp.mcore_fsdp_adapter import FullyShardedDataParallel

        wrapped = [FullyShardedDataParallel(megatron, options, chunk) for chunk in chunks]
    else:
        if options.overlap_grad_reduce and options.bucket_size is None:
            from megatron.core import parallel_state

            # Megatron's training script does the same; without a size there is one bucket and nothing to overlap.
            options.bucket_size = max(40_000_000, 1_000_000 * parallel_state.get_data_parallel_world_size())
        # The last chunks' gradients are ready first; only the first chunk has none of its step left to hide behind.
        wrapped = [
            DistributedDataParallel(megatron, options, chunk, disable_bucketing=number > 0)
            for number, chunk in enumerate(chunks)
        ]
    if options.overlap_grad_reduce:
        waits = [replica.no_sync for replica in wrapped]
        megatron.no_sync_func = waits if len(waits) > 1 else waits[0]
    megatron.finalize_model_grads_func = finalize_model_grads
    return wrapped


def build_optimizer(config: PretrainConfig, replicas: list[Any]) -> Any:
    """Megatron's optimizer over all chunks: AdamW, or Muon with AdamW for what is not a matrix."""
    settings = config.optimizer
    options: dict[str, Any] = {
        "optimizer": "adam",
        "lr": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "adam_beta1": settings.beta1,
        "adam_beta2": settings.beta2,
        "adam_eps": settings.epsilon,
        "clip_grad": settings.clip_grad,
        "bf16": config.dtype == "bfloat16",
        "params_dtype": replicas[0].config.params_dtype,
        "use_distributed_optimizer": config.parallel.zero > 0,
        "overlap_param_gather": config.parallel.overlap_param_gather,
    }
    if settings.kind == "muon":
        from training.pretrain.muon import build_muon

        optimizer = build_muon(config, options, replicas)
    else:
        optimizer = get_megatron_optimizer(OptimizerConfig(**options), replicas)
    replicas[0].config.grad_scale_func = optimizer.scale_loss
    return optimizer
