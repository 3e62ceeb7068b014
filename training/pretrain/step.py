"""What a micro-batch goes through on one rank: its part of the batch in, its part of the loss out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.packed_seq_params import PackedSeqParams

from training.pretrain.attention import pieces_of_rank
from training.pretrain.config import PretrainConfig
from training.pretrain.data import Batch

Loss = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, dict[str, Any]]]


class ForwardStep:
    """Megatron's callback: run one micro-batch through a chunk and say how its loss is summed."""

    def __init__(self, config: PretrainConfig, keep: Loss | None = None) -> None:
        """`keep`: takes the logits `[B, S, V / TP]` of each micro-batch in place of a loss."""
        self.config, self.keep = config, keep

    def __call__(self, batches: Iterator[Batch], model: Any) -> tuple[torch.Tensor, Any]:
        """The chunk's output, and what makes of it (sum over tokens, tokens, sums to report)."""
        batch = next(batches).to(torch.cuda.current_device())
        inputs = self._inputs(batch)
        labels, loss_mask = inputs.pop("labels"), inputs.pop("loss_mask")
        if self.keep is not None:
            return model(**inputs), self.keep
        if self.config.model.mtp is not None:
            inputs["loss_mask"] = loss_mask
        output = model(**inputs, labels=labels)

        def sum_loss(losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
            nll = (losses.float() * loss_mask).sum()
            tokens = loss_mask.sum()
            return nll, tokens.to(torch.int), {"loss": torch.stack([nll.detach(), tokens]).double()}

        return output, sum_loss

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        """Tokens, positions, labels, masks: this context-parallel rank's part of each."""
        named = {
            "input_ids": batch.tokens,
            "position_ids": batch.position_ids,
            "labels": batch.labels,
            "loss_mask": batch.loss_mask,
        }
        segments = batch.segments
        if segments is not None and segments.is_cuda and self._can_pack():
            return {name: tensor.reshape(1, -1) for name, tensor in named.items()} | {
                "attention_mask": None,
                "packed_seq_params": pack(segments),
            }
        mask = batch.attention_mask
        if self.config.parallel.context > 1:
            ranks = parallel_state.get_context_parallel_world_size()
            rank = parallel_state.get_context_parallel_rank()
            named = {name: pieces_of_rank(tensor, 1, ranks, rank) for name, tensor in named.items()}
            mask = None if mask is None else pieces_of_rank(mask, 2, ranks, rank)
        return {**named, "attention_mask": mask}

    def _can_pack(self) -> bool:
        """Documents one after the other without a mask: for the flash kernel, decoders, whole sequences."""
        config = self.config
        plain = config.model.positions == "rope" and config.model.mtp is None and config.model.mla is None
        whole = config.parallel.context == 1 and config.parallel.pipeline == 1
        return plain and whole and self.keep is None and config.dtype != "float32"


def pack(segments: torch.Tensor) -> PackedSeqParams:
    """Bounds of the documents in rows laid one after the other; `segments` `[B, T]`: document of each position."""
    changes = torch.ones_like(segments, dtype=torch.bool)
    changes[:, 1:] = segments[:, 1:] != segments[:, :-1]
    starts = changes.flatten().nonzero()[:, 0]
    bounds = torch.cat([starts, starts.new_tensor([segments.numel()])]).to(torch.int32)
    longest = int(bounds.diff().max())
    return PackedSeqParams(
        qkv_format="thd",
        cu_seqlens_q=bounds,
        cu_seqlens_kv=bounds,
        max_seqlen_q=longest,
        max_seqlen_kv=longest,
    )


def padded(batches: Iterator[Batch], missing: int) -> Iterator[Batch]:
    """The batches, and then the last one `missing` times more without any token that counts."""
    last = None
    for last in batches:
        yield last
    assert last is not None, "no batches"
    for _ in range(missing):
        yield replace(last, loss_mask=torch.zeros_like(last.loss_mask))


def repeated(batch: Batch, times: int) -> Iterator[Batch]:
    """The same batch several times."""
    return iter([batch] * times)


def gather_sequence(tensor: torch.Tensor) -> torch.Tensor:
    """`[B, S, ...]` of each context-parallel rank to `[B, all positions, ...]` on each."""
    ranks = parallel_state.get_context_parallel_world_size()
    if ranks == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(ranks)]
    dist.all_gather(parts, tensor.contiguous(), group=parallel_state.get_context_parallel_group())
    halves = [part.chunk(2, 1) for part in parts]
    return torch.cat([*(first for first, _ in halves), *(last for _, last in reversed(halves))], 1)
