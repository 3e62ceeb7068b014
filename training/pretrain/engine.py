"""The model, its optimizer and their checkpoints on this rank: what the training loop drives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.strategies.torch import TorchDistSaveShardedStrategy
from megatron.core.pipeline_parallel.schedules import get_forward_backward_func
from megatron.core.tensor_parallel.mappings import gather_from_tensor_model_parallel_region
from torch.distributed.checkpoint.api import CheckpointException

from millbase.errors import StageError
from training.pretrain import optimizer_states
from training.pretrain.config import PretrainConfig
from training.pretrain.data import Batch
from training.pretrain.model import build_model
from training.pretrain.positions import batch_size
from training.pretrain.replicas import build_optimizer, replicate
from training.pretrain.schedule import learning_rate
from training.pretrain.step import ForwardStep, gather_sequence, padded, repeated
from training.pretrain.weights import Whole

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
        self.chunks = build_model(config, vocab_size)
        # Every optimizer format reads and writes whole, layout-free tensors, so that a run may change its layout.
        self._metadata = {
            "distrib_optim_sharding_type": "fully_reshardable",
            "chained_optim_avoid_prefix": True,
            "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
        }
        self.replicas = replicate(config, self.chunks, weights)
        self.optimizer = build_optimizer(config, self.replicas)
        self._forward_backward = get_forward_backward_func()
        self._forward_step = ForwardStep(config)
        self.data_rank = parallel_state.get_data_parallel_rank()

    def backward(self, batches: Iterator[Batch], step: int, stop: bool = False) -> Summed:
        """Accumulate the gradients of the micro-batches of optimizer step `step`; returns the loss over all ranks."""
        for replica in self.replicas:
            replica.zero_grad_buffer()
        self.optimizer.zero_grad()
        count = batch_size(self.config, step) // (self.config.micro_batch_size * self.config.parallel.data)
        torch.set_float32_matmul_precision(self.config.matmul_precision)
        try:
            return self._pass(batches, count, forward_only=False, stop=stop)
        finally:
            torch.set_float32_matmul_precision("highest")

    def update(self, step: int, accept: Callable[[float], bool] | None = None) -> float:
        """One optimizer step with the accumulated gradients, at step `step`'s learning rate.

        Returns the gradient's norm before clipping. `accept` is asked with it, on every rank; when it says no, nothing
        is moved.
        """
        rate = learning_rate(self.config, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            # Megatron marks norms (and biases) with wd_mult 0.
            group["weight_decay"] = self.config.optimizer.weight_decay * group["wd_mult"]
        if accept is not None:
            self.optimizer.prepare_grads()
            norm = float(self.optimizer.get_grad_norm() or 0.0)
            if not accept(norm):
                return norm
        _, norm, _ = self.optimizer.step()
        return float(norm or 0.0)

    @torch.no_grad()
    def evaluate(self, batches: Iterator[Batch], micro_batches: int) -> Summed:
        """Loss without gradients over `micro_batches` micro-batches of each data-parallel rank."""
        self._train(False)
        if self._group > 1:
            # The interleaved schedule takes micro-batches in groups.
            missing = -micro_batches % self._group
            batches, micro_batches = padded(batches, missing), micro_batches + missing
        total = self._pass(batches, micro_batches, forward_only=True)
        self._train(True)
        return total

    @property
    def _group(self) -> int:
        return self.config.parallel.pipeline if len(self.chunks) > 1 else 1

    def _train(self, on: bool) -> None:
        for replica in self.replicas:
            replica.train(on)

    def _pass(self, batches: Iterator[Batch], count: int, forward_only: bool, stop: bool = False) -> Summed:
        outputs = self._run(self._forward_step, batches, count, self.config.micro_batch_size, forward_only)
        total = torch.zeros(3, dtype=torch.float64, device=torch.cuda.current_device())
        # Tensor-parallel ranks hold the same loss and only the last pipeline stage has one: count it once.
        if parallel_state.is_pipeline_last_stage() and parallel_state.get_tensor_model_parallel_rank() == 0:
            for output in outputs:
                total[:2] += output["loss"]
        total[2] = float(stop)
        dist.all_reduce(total)
        nll, tokens, stopping = total.tolist()
        return Summed(nll, tokens, stopping > 0)

    def _run(self, forward_step: Any, batches: Iterator[Batch], count: int, size: int, forward_only: bool) -> Any:
        """Megatron's schedule over `count` micro-batches of `size` sequences; every chunk reads all of them."""
        several = len(self.replicas) > 1
        iterators = list(itertools.tee(batches, len(self.replicas)))
        return self._forward_backward(
            forward_step_func=forward_step,
            data_iterator=iterators if several else iterators[0],
            model=self.replicas if several else self.replicas[0],
            num_microbatches=count,
            seq_length=self.config.data.sequence_length,
            micro_batch_size=size,
            forward_only=forward_only,
        )

    @torch.no_grad()
    def logits(self, batch: Batch, vocab_size: int) -> torch.Tensor:
        """Logits of one micro-batch, `[B, T, vocab_size]` float32, on every rank."""
        kept: list[torch.Tensor] = []

        def keep(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
            kept.append(output)
            return output.new_zeros(()), torch.zeros((), dtype=torch.int, device=output.device), {}

        self._train(False)
        forward_step = ForwardStep(self.config, keep)
        self._run(forward_step, repeated(batch, self._group), self._group, batch.tokens.size(0), forward_only=True)
        self._train(True)
        shape = (*batch.tokens.shape, vocab_size)
        result = torch.empty(shape, device=torch.cuda.current_device())
        if kept:
            whole = gather_sequence(gather_from_tensor_model_parallel_region(kept[0]))
            result.copy_(whole[..., :vocab_size])
        dist.broadcast(
            result,
            parallel_state.get_pipeline_model_parallel_last_rank(),
            group=parallel_state.get_pipeline_model_parallel_group(),
        )
        return result

    def save(self, directory: Path, background: bool = False) -> Any:
        """Write weights and optimizer state as a distributed checkpoint; all ranks together.

        `background`: only prepare it, and return Megatron's request for the writing (see `saving.py`).
        """
        return dist_checkpointing.save(
            self._sharded(loading=False),
            str(directory),
            TorchDistSaveShardedStrategy("torch_dist", 1, thread_count=1),
            async_sharded_save=background,
        )

    @torch.no_grad()
    def load(self, directory: Path) -> None:
        """Read weights and optimizer state, saved on any layout; all ranks together."""
        if self.config.parallel.zero > 1:
            with _fitting(directory):
                self.optimizer.load(directory)
            return
        wanted = self._sharded(loading=True)
        with _fitting(directory):
            state = optimizer_states.load(wanted, directory)
        for name, chunk in self._named_chunks():
            missing, unexpected = chunk.load_state_dict(state[name], strict=False)
            missing = [key for key in missing if not key.endswith(_EXTRA)]
            assert not missing and not unexpected, f"checkpoint {directory}: missing {missing}, unexpected {unexpected}"
        self.optimizer.load_state_dict(state["optimizer"])

    def _named_chunks(self) -> list[tuple[str, Any]]:
        if len(self.chunks) == 1:
            return [("model", self.chunks[0])]
        return [(f"model{number}", chunk) for number, chunk in enumerate(self.chunks)]

    def _sharded(self, loading: bool) -> dict[str, Any]:
        if self.config.parallel.zero > 1:
            spread: dict[str, Any] = self.optimizer.state()
            return spread
        if self.config.parallel.overlap_param_gather:
            for replica in self.replicas:
                replica.start_param_sync(force_sync=True)
        models = {}
        for name, chunk in self._named_chunks():
            state = chunk.sharded_state_dict(metadata=self._metadata)
            # Places for Transformer Engine's FP8 state, always empty here; they would be saved as pickled objects.
            models[name] = {key: value for key, value in state.items() if not key.endswith(_EXTRA)}
        optimizer = self.optimizer.sharded_state_dict(models, is_loading=loading, metadata=self._metadata)
        return {**models, "optimizer": optimizer}


@contextmanager
def _fitting(directory: Path) -> Iterator[None]:
    """StageError when a checkpoint has another optimizer's state."""
    try:
        yield
    except (KeyError, ValueError, CheckpointException) as error:
        reason = next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error
        raise StageError(
            f"{directory}: its optimizer state does not fit ({str(reason)[:120]}); set optimizer.kind as it was when "
            "it was saved"
        ) from error
