"""Muon: matrices inside the layers move along their momentum made orthogonal, everything else by AdamW.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/); Liu et al. 2025, "Muon is scalable for LLM training".
Megatron-core has the plumbing (which weights, experts, mixed precision, checkpoints) but takes the optimizer from a
package that is not published on PyPI; this is that optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from training.pretrain.config import PretrainConfig

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan et al.: singular values end between about 0.7 and 1.2, in few steps."""
_SCALES = {
    "spectral": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
    "unit_rms": lambda rows, columns: math.sqrt(rows / columns),
    "shape": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
}
_ATTRIBUTES = ("is_qkv", "expert_tp")


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """`matrix` `[m, n]` with its singular values driven towards 1 by the quintic Newton-Schulz iteration.

    In bfloat16 on a GPU, as the authors do, else in the matrix's own type.
    """
    a, b, c = _QUINTIC
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """The signature of Megatron's TensorParallelMuon."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-4,
        momentum_beta: float = 0.95,
        use_nesterov: bool = True,
        weight_decay: float = 0.01,
        split_qkv: bool = False,
        is_qkv_fn: Callable[[Tensor], bool] | None = None,
        qkv_split_shapes: list[int] | None = None,
        num_ns_steps: int = 5,
        scale_mode: str = "spectral",
        pg_collection: Any = None,
        **_: Any,
    ) -> None:
        """`scale_mode`: a key of MuonConfig.scale; `qkv_split_shapes`: rows of queries, keys and values of a group of
        heads. Other options are ignored."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.momentum, self.nesterov = momentum_beta, use_nesterov
        self.steps, self.scale = num_ns_steps, _SCALES[scale_mode]
        self.parts = qkv_split_shapes if split_qkv else None
        self.is_qkv = is_qkv_fn or (lambda _: False)
        self.groups = pg_collection

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        assert closure is None, "Megatron computes the gradients before the step"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - self.momentum)
                direction = weight.grad.lerp(momentum, self.momentum) if self.nesterov else momentum
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(self._update(weight, direction), alpha=-group["lr"])

    def _update(self, weight: Tensor, direction: Tensor) -> Tensor:
        """The scaled orthogonal direction, this rank's part of it."""
        if self.parts is None or not self.is_qkv(weight):
            return self._orthogonal(weight, direction)
        groups = direction.view(-1, sum(self.parts), direction.size(1))  # [groups of heads, q + k + v rows, columns]
        done = [
            self._orthogonal(weight, part.reshape(-1, direction.size(1))).view(groups.size(0), -1, direction.size(1))
            for part in groups.split(self.parts, dim=1)
        ]
        return torch.cat(done, dim=1).view_as(direction)

    def _orthogonal(self, weight: Tensor, direction: Tensor) -> Tensor:
        axis = getattr(weight, "partition_dim", -1)
        group = None
        if self.groups is not None and axis is not None and axis >= 0:
            group = self.groups.expt_tp if getattr(weight, "expert_tp", False) else self.groups.tp
        if group is None or group.size() == 1:
            return orthogonal(direction, self.steps) * self.scale(*direction.shape)
        # The rows may come in another order than one rank would have them; the iteration does not mind.
        parts = [torch.empty_like(direction) for _ in range(group.size())]
        dist.all_gather(parts, direction.contiguous(), group=group)
        whole = torch.cat(parts, axis)
        done = orthogonal(whole, self.steps) * self.scale(*whole.shape)
        return done.chunk(group.size(), axis)[group.rank()]


def build_muon(config: PretrainConfig, options: dict[str, Any], replicas: list[Any]) -> Any:
    """Megatron's chain of Muon and AdamW; `options`: for its OptimizerConfig."""
    import megatron.core.optimizer.muon as megatron
    from megatron.core.optimizer import OptimizerConfig

    megatron.TensorParallelMuon, megatron.HAVE_EMERGING_OPTIMIZERS = Muon, True
    muon = config.optimizer.muon
    for replica in replicas:
        for name, weight in replica.named_parameters():
            # Megatron marks the word embedding only; positions and segments are looked up as well.
            if "embedding." in name or "embeddings." in name:
                weight.is_embedding_or_output_parameter = True
    optimizer = megatron.get_megatron_muon_optimizer(
        OptimizerConfig(
            **options,
            muon_momentum=muon.momentum,
            muon_use_nesterov=muon.nesterov,
            muon_num_ns_steps=muon.newton_schulz_steps,
            muon_scale_mode=muon.scale,
            # Latent attention has no matrix of queries, keys and values.
            muon_split_qkv=muon.split_qkv and config.model.mla is None,
        ),
        replicas,
    )
    for part in optimizer.chained_optimizers:
        # float32 copies of bfloat16 weights lose the marks that say how to treat them
        for halves, copies in zip(
            getattr(part, "float16_groups", []), getattr(part, "fp32_from_float16_groups", []), strict=True
        ):
            for half, copy in zip(halves, copies, strict=True):
                for name in _ATTRIBUTES:
                    if hasattr(half, name):
                        setattr(copy, name, getattr(half, name))
    return optimizer
