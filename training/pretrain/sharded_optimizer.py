"""AdamW on the rows that a rank holds (ZeRO-2 and ZeRO-3), with the checkpoints of the other layouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.optimizer import OptimizerConfig, _get_param_groups

from training.pretrain.checkpoint import saved_names
from training.pretrain.fully_sharded import FullySharded, Held
from training.pretrain.optimizer import FusedAdam
from training.pretrain.optimizer_states import COPIES, STATE, steps_done

_MOMENTS = ("exp_avg", "exp_avg_sq")


class ShardedAdam:
    """Has the methods of Megatron's optimizers that the engine calls."""

    def __init__(self, options: OptimizerConfig, replicas: list[FullySharded], dtype: torch.dtype) -> None:
        """`dtype`: of the weights in a checkpoint; the rows are float32."""
        self.options, self.dtype = options, dtype
        self.held: list[Held] = [held for replica in replicas for held in replica.held]
        self.buffers = [pair for replica in replicas for pair in replica.buffers_saved]
        self.replicas = replicas
        rows = {id(held.param): held.rows for held in self.held}
        self.rows = [rows[id(held.param)] for held in self.held]
        # Megatron's groups, so that checkpoints fit: which weights decay, and in which order.
        groups = _get_param_groups(replicas, options, None)
        self.inner = FusedAdam(
            [group | {"params": [rows[id(param)] for param in group["params"]]} for group in groups],
            lr=options.lr or 0.0,
            betas=(options.adam_beta1, options.adam_beta2),
            eps=options.adam_eps,
            weight_decay=options.weight_decay,
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups, to set rates in."""
        return self.inner.param_groups

    def scale_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """As it is: bfloat16 needs no scaling."""
        return loss

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for held, rows in zip(self.held, self.rows, strict=True):
            held.param.grad = rows.grad = None

    def prepare_grads(self) -> bool:
        """Hand the gradients to the rows; False: none was found not to be finite, as they are not looked at."""
        for held, rows in zip(self.held, self.rows, strict=True):
            rows.grad = held.gradient
        return False

    @torch.no_grad()
    def get_grad_norm(self) -> float:
        """Euclidean norm over the whole model, each weight once."""
        first = parallel_state.get_tensor_model_parallel_rank() == 0
        counted = [
            rows.grad
            for held, rows in zip(self.held, self.rows, strict=True)
            if rows.grad is not None and (first or getattr(held.param, "tensor_model_parallel", False))
        ]
        total = torch.zeros((), device=torch.cuda.current_device())
        if counted:
            total += torch.stack(torch._foreach_norm(counted)).square().sum()
        dist.all_reduce(total)
        return float(total.sqrt())

    @torch.no_grad()
    def step(self) -> tuple[bool, float, None]:
        """Clip and update; (True, the norm before clipping, None)."""
        self.prepare_grads()
        norm = self.get_grad_norm()
        factor = self.options.clip_grad / (norm + 1e-6)  # Megatron's
        gradients = [rows.grad for rows in self.rows if rows.grad is not None]
        if 0.0 < factor < 1.0 and gradients:
            torch._foreach_mul_(gradients, factor)
        self.inner.step()
        return True, norm, None

    def state(self) -> dict[str, Any]:
        """Weights and optimizer state for a distributed checkpoint, as a run with ZeRO-1 names them."""
        tensors = self._tensors(lambda held, rows: held.parts(rows.to(self.dtype)))
        for name in ("param", *_MOMENTS):
            tensors |= self._tensors(
                lambda held, rows, name=name: held.parts(self._value(rows, name), f"{STATE}{name}.")
            )
        groups = [{key: value for key, value in group.items() if key != "params"} for group in self.param_groups]
        described = {"optimizer": {"param_groups": groups}, "param_state_sharding_type": "fully_reshardable"}
        return {"optimizer": described, "tensors": tensors | self._buffers()}

    @torch.no_grad()
    def load(self, directory: Path) -> None:
        """Read weights and state from a checkpoint of any layout and ZeRO stage; all ranks together.

        Raises:
            KeyError, ValueError, CheckpointException: it has no state of AdamW.
        """
        for replica in self.replicas:
            replica.let_go()
        names = saved_names(directory)
        exact = next(prefix for prefix in COPIES if any(name.startswith(prefix) for name in names))
        values = {name: [torch.empty_like(rows) for rows in self.rows] for name in ("param", *_MOMENTS)}
        wanted: dict[str, Any] = self._buffers()
        for name, rows_of in values.items():
            prefix = exact if name == "param" else f"{STATE}{name}."
            for number, (held, rows) in enumerate(zip(self.held, rows_of, strict=True)):
                wanted |= {f"{name} {number} {at}": part for at, part in enumerate(held.parts(rows, prefix))}
        targets = {key: part.data for key, part in wanted.items()}
        state = dist_checkpointing.load({"tensors": wanted}, str(directory))
        for key, target in targets.items():
            target.copy_(state["tensors"][key])
        for at, rows in enumerate(self.rows):
            rows.copy_(values["param"][at])
            self.inner.state[rows].update({name: values[name][at] for name in _MOMENTS})
        step = steps_done(state["optimizer"])
        for group in self.param_groups:
            group["step"] = step

    def _value(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        if name == "param":
            return rows
        value: torch.Tensor = self.inner.state[rows].get(name, torch.zeros_like(rows))
        return value

    def _tensors(self, parts: Any) -> dict[str, Any]:
        pairs = zip(self.held, self.rows, strict=True)
        return {
            f"{part.key} {held.name} {at}": part for held, rows in pairs for at, part in enumerate(parts(held, rows))
        }

    def _buffers(self) -> dict[str, Any]:
        return {
            shard.key + str(at): replace(shard, data=buffer.detach()) for at, (buffer, shard) in enumerate(self.buffers)
        }
