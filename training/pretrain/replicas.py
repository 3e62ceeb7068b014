"""The model's chunks made data-parallel, and the optimizer that moves them, as the configuration says."""

from __future__ import annotations

from typing import Any

from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer

from training.pretrain.config import PretrainConfig
from training.pretrain.weights import Whole, fill


def replicate(config: PretrainConfig, chunks: list[Any], weights: Whole) -> list[Any]:
    """Each chunk, filled from `weights` (whole tensors), with buffers for its gradients and their sum over replicas.

    Sets the schedule's callbacks, too.
    """
    layout = config.parallel
    if layout.zero > 1:
        from training.pretrain.fully_sharded import FullySharded, finalize

        spread = [FullySharded(config, chunk, weights) for chunk in chunks]
        chunks[0].config.no_sync_func = spread[0].no_sync
        chunks[0].config.finalize_model_grads_func = finalize
        return spread
    for chunk in chunks:
        fill(chunk, weights)
    options = DistributedDataParallelConfig(
        use_distributed_optimizer=layout.zero > 0,
        grad_reduce_in_fp32=True,
        overlap_grad_reduce=layout.overlap_grad_reduce,
        overlap_param_gather=layout.overlap_param_gather,
        bucket_size=layout.bucket_size,
    )
    megatron = chunks[0].config
    if options.overlap_grad_reduce and options.bucket_size is None:
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
    """The optimizer over all chunks: AdamW, or Muon with AdamW for what is not a matrix."""
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
    elif config.parallel.zero > 1:
        from training.pretrain.sharded_optimizer import ShardedAdam

        optimizer = ShardedAdam(OptimizerConfig(**options), replicas, options["params_dtype"])
    else:
        optimizer = get_megatron_optimizer(OptimizerConfig(**options), replicas)
    replicas[0].config.grad_scale_func = optimizer.scale_loss
    return optimizer
