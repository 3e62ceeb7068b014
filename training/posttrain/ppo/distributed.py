"""The few collectives PPO needs, which do nothing in a single process.

Every process holds full replicas and sees the whole rollout; work on its rows is dealt out, and results are added up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from millbase.errors import InputError


@dataclass(frozen=True)
class Group:
    """This process among the `size` that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def share(self, items: Sequence[Any]) -> list[Any]:
        """This process's part of `items`: every `size`-th, so that sorted work is dealt out evenly."""
        return list(items[self.rank :: self.size])

    def gather(self, items: list[Any]) -> list[Any]:
        """The inverse of `share`: all parts, merged back into one list in the original order."""
        if self.size == 1:
            return items
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, items)
        merged: list[Any] = [None] * sum(map(len, parts))
        for rank, part in enumerate(parts):
            merged[rank :: self.size] = part
        return merged

    def sum_(self, tensors: Iterable[torch.Tensor]) -> None:
        """Add each tensor over all processes, in place, in one message."""
        tensors = list(tensors)
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(part.view_as(tensor))


def single_process(device: str = "auto") -> Group:
    """A group of one, on `device` (auto, cpu or cuda). InputError when there is no GPU and one was asked for."""
    return Group(0, 1, torch.device("cuda" if _use_cuda(device) else "cpu"))


def join_group(device_kind: str = "auto") -> Group:
    """Join the processes that torchrun started, each on a device of its own."""
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    cuda = _use_cuda(device_kind)
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    return Group(rank, size, device)


def _use_cuda(device: str) -> bool:
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device = 'cuda' and this machine has no usable GPU; set device=cpu or device=auto")
    return device != "cpu" and torch.cuda.is_available()
