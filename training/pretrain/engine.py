"""The model, its optimizer and their checkpoints on this rank: what the training loop drives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.strategies.torch import TorchDistSaveShardedStrategy
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.pipeline_parallel.schedules import get_forward_backward_func
from megatron.core.tensor_parallel.mappings import gather_from_tensor_model_parallel_region

from training.pretrain.config import PretrainConfig
from training.pretrain.data import Batch
from training.pretrain.model import build_model
from training.pretrain.schedule import learning_rate
from training.pretrain.weights import Whole, fill

_EXTRA = "._extra_state"


@dataclass(frozen=True)
class Summed:
    """Negative log-likelihood over a number of tokens, all ranks together."""

    nll: float
    """Sum over tokens, nats."""
    tokens: float
    signal: bool
    """True when any rank asked all to stop."""

    @property
    def loss(self) -> float:
        """Mean over tokens, nats."""
        return self.nll / self.tokens if self.tokens else math.nan


class Engine:
    """One rank's share of the model with its optimizer."""

    def __init__(self, config: PretrainConfig, vocab_size: int, weights: Whole) -> None:
        """Build the model for the initialised layout and fill it from `weights` (whole tensors)."""
        self.config = config
        self.model = build_model(config, vocab_size)
        fill(self.model, weights)
        # Every optimizer format reads and writes whole, layout-free tensors, so that a run may change its layout.
        self._metadata = {
            "distrib_optim_sharding_type": "fully_reshardable",
            "chained_optim_avoid_prefix": True,
            "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
        }
        distributed = config.parallel.distributed_optimizer
        ddp = DistributedDataParallelConfig(use_distributed_optimizer=distributed, grad_reduce_in_fp32=True)
        self.ddp = DistributedDataParallel(self.model.config, ddp, self.model)
        self.model.config.finalize_model_grads_func = finalize_model_grads
        settings = config.optimizer
        self.optimizer = get_megatron_optimizer(
            OptimizerConfig(
                optimizer="adam",
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                adam_beta1=settings.beta1,
                adam_beta2=settings.beta2,
                adam_eps=settings.epsilon,
                clip_grad=settings.clip_grad,
                bf16=config.dtype == "bfloat16",
                params_dtype=self.model.config.params_dtype,
                use_distributed_optimizer=distributed,
            ),
            [self.ddp],
        )
        self.model.config.grad_scale_func = self.optimizer.scale_loss
        self._forward_backward = get_forward_backward_func()
        self.data_rank = parallel_state.get_data_parallel_rank()

    def backward(self, batches: Iterator[Batch], stop: bool = False) -> Summed:
        """Accumulate the gradients of one optimizer step's micro-batches; returns the loss over all ranks."""
        self.ddp.zero_grad_buffer()
        self.optimizer.zero_grad()
        count = self.config.global_batch_size // (self.config.micro_batch_size * self.config.parallel.data)
        torch.set_float32_matmul_precision(self.config.matmul_precision)
        try:
            return self._pass(batches, count, forward_only=False, stop=stop)
        finally:
            torch.set_float32_matmul_precision("highest")

    def update(self, step: int) -> float:
        """One optimizer step with the accumulated gradients, at step `step`'s learning rate; returns their norm."""
        rate = learning_rate(self.config, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            # Megatron marks norms (and biases) with wd_mult 0.
            group["weight_decay"] = self.config.optimizer.weight_decay * group["wd_mult"]
        _, norm, _ = self.optimizer.step()
        return float(norm or 0.0)

    @torch.no_grad()
    def evaluate(self, batches: Iterator[Batch], micro_batches: int) -> Summed:
        """Loss without gradients over `micro_batches` micro-batches of each data-parallel rank."""
        self.ddp.eval()
        total = self._pass(batches, micro_batches, forward_only=True)
        self.ddp.train()
        return total

    def _pass(self, batches: Iterator[Batch], count: int, forward_only: bool, stop: bool = False) -> Summed:
        outputs = self._forward_backward(
            forward_step_func=_forward_step,
            data_iterator=batches,
            model=self.ddp,
            num_microbatches=count,
            seq_length=self.config.data.sequence_length,
            micro_batch_size=self.config.micro_batch_size,
            forward_only=forward_only,
        )
        total = torch.zeros(3, dtype=torch.float64, device=torch.cuda.current_device())
        # Tensor-parallel ranks hold the same loss and only the last pipeline stage has one: count it once.
        if parallel_state.is_pipeline_last_stage() and parallel_state.get_tensor_model_parallel_rank() == 0:
            for output in outputs:
                total[:2] += output["loss"]
        total[2] = float(stop)
        dist.all_reduce(total)
        nll, tokens, stopping = total.tolist()
        return Summed(nll, tokens, stopping > 0)

    @torch.no_grad()
    def logits(self, batch: Batch, vocab_size: int) -> torch.Tensor:
        """Logits of one micro-batch, `[B, T, vocab_size]` float32, on every rank."""
        kept: list[torch.Tensor] = []

        def forward_step(batches: Iterator[Batch], model: Any) -> tuple[torch.Tensor, Any]:
            one = next(batches).to(torch.cuda.current_device())
            out = model(one.tokens, one.position_ids, one.attention_mask)

            def keep(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
                kept.append(gather_from_tensor_model_parallel_region(output)[..., :vocab_size].float())
                return output.new_zeros(()), torch.zeros((), dtype=torch.int, device=output.device), {}

            return out, keep

        self.ddp.eval()
        self._forward_backward(
            forward_step_func=forward_step,
            data_iterator=iter([batch]),
            model=self.ddp,
            num_microbatches=1,
            seq_length=batch.tokens.size(1),
            micro_batch_size=batch.tokens.size(0),
            forward_only=True,
        )
        self.ddp.train()
        shape = (*batch.tokens.shape, vocab_size)
        result = kept[0].contiguous() if kept else torch.empty(shape, device=torch.cuda.current_device())
        dist.broadcast(
            result,
            parallel_state.get_pipeline_model_parallel_last_rank(),
            group=parallel_state.get_pipeline_model_parallel_group(),
        )
        return result

    def save(self, directory: Path) -> None:
        """Write weights and optimizer state as a distributed checkpoint; all ranks together."""
        dist_checkpointing.save(
            self._sharded(loading=False),
            str(directory),
            TorchDistSaveShardedStrategy("torch_dist", 1, thread_count=1),
        )

    @torch.no_grad()
    def load(self, directory: Path) -> None:
        """Read weights and optimizer state, written under any layout; all ranks together."""
        state = dist_checkpointing.load(self._sharded(loading=True), str(directory))
        missing, unexpected = self.model.load_state_dict(state["model"], strict=False)
        missing = [name for name in missing if not name.endswith(_EXTRA)]
        assert not missing and not unexpected, f"checkpoint {directory}: missing {missing}, unexpected {unexpected}"
        self.optimizer.load_state_dict(state["optimizer"])

    def _sharded(self, loading: bool) -> dict[str, Any]:
        model = self.model.sharded_state_dict(metadata=self._metadata)
        # Places for Transformer Engine's FP8 state, always empty here; they would be saved as pickled objects.
        model = {name: value for name, value in model.items() if not name.endswith(_EXTRA)}
        optimizer = self.optimizer.sharded_state_dict({"model": model}, is_loading=loading, metadata=self._metadata)
        return {"model": model, "optimizer": optimizer}


def _forward_step(batches: Iterator[Batch], model: Any) -> tuple[torch.Tensor, Any]:
    """Megatron's callback: run one micro-batch and say how its loss is summed."""
    batch = next(batches).to(torch.cuda.current_device())
    output = model(batch.tokens, batch.position_ids, batch.attention_mask, labels=batch.labels)

    def sum_loss(losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        nll = (losses.float() * batch.loss_mask).sum()
        tokens = batch.loss_mask.sum()
        return nll, tokens.to(torch.int), {"loss": torch.stack([nll.detach(), tokens]).double()}

    return output, sum_loss
