"""What Megatron-core 0.16's experts need mended: the weight of their losses everywhere, their communication on CPUs."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


def mend_balancing() -> None:
    """Weigh a router's auxiliary losses by tokens, as `calculate_per_token_loss` weighs the main one.

    Megatron multiplies them by the tokens of this rank, though tensor- and context-parallel ranks hold a part of each
    micro-batch, and by the positions of one sequence where the loss is per sequence. So their weight changed with the
    layout and with the micro-batch.
    """
    from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler
    from megatron.core.transformer.moe.router import TopKRouter

    attach = TopKRouter.attach_and_log_load_balancing_loss

    def attach_by_tokens(
        self: Any, activation: torch.Tensor, coefficient: float, loss: Any, name: str, group: Any, *args: Any, **kw: Any
    ) -> Any:
        kw["valid_token_count"] = activation.shape[0] * group.size()
        return attach(self, activation, coefficient, loss, name, group, *args, **kw)

    def z_loss(self: Any, logits: torch.Tensor, padding_mask: torch.Tensor | None = None) -> Any:
        if self.config.moe_z_loss_coeff is None or not self.training or not torch.is_grad_enabled():
            return logits
        assert padding_mask is None, "padding is left to the loss mask"
        total = torch.logsumexp(logits, dim=-1).square().sum() * self.config.moe_z_loss_coeff
        return MoEAuxLossAutoScaler.apply(logits, total)

    TopKRouter.attach_and_log_load_balancing_loss = attach_by_tokens
    TopKRouter.apply_z_loss = z_loss


def use_cpu_for_experts() -> None:
    """Dispatch tokens to experts without CUDA streams, and over gloo, which gathers only tensors of equal sizes."""
    import megatron.core.tensor_parallel.mappings as mappings
    from megatron.core.transformer.moe.token_dispatcher import MoEAlltoAllTokenDispatcher as Dispatcher

    # Tokens for experts are counted on the device and copied to the host beside the computation; here they are there.
    Dispatcher._maybe_dtoh_and_synchronize = _splits_on_host
    Dispatcher.cuda_dtoh_stream = "unused"
    gather, scatter = mappings._gather_along_first_dim, mappings._reduce_scatter_along_first_dim

    def gather_uneven(tensor: torch.Tensor, group: Any, sizes: list[int] | None = None, *args: Any, **kw: Any) -> Any:
        sizes = kw.pop("output_split_sizes", sizes)
        if sizes is None or group.size() == 1:
            return gather(tensor, group, sizes, *args, **kw)
        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def scatter_uneven(tensor: torch.Tensor, group: Any, sizes: list[int] | None = None, *args: Any, **kw: Any) -> Any:
        sizes = kw.pop("input_split_sizes", sizes)
        if sizes is None or group.size() == 1:
            return scatter(tensor, group, sizes, *args, **kw)
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total.split([int(size) for size in sizes])[group.rank()].contiguous()

    mappings._gather_along_first_dim = gather_uneven
    mappings._reduce_scatter_along_first_dim = scatter_uneven


def _splits_on_host(self: Any, point: str, tokens_per_expert: Any = None) -> Any:
    """The all-to-all dispatcher's split sizes as host values, without a stream."""
    if point == self.cuda_dtoh_point and not self.drop_and_pad:
        for name in ("input_splits", "output_splits", "output_splits_tp"):
            value = getattr(self, name)
            setattr(self, name, value.numpy() if torch.is_tensor(value) else value)
    return tokens_per_expert
