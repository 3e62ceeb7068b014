"""The unit of conversion: one tensor of a Megatron checkpoint and the tensors of Hugging Face files it is made of.

A checkpoint's tensor is named without layer numbers (`decoder.layers.self_attention.linear_qkv.weight`, of layer
`index[0]`, and of expert `index[1]` where there are experts). Conversion goes piece by piece in either direction, so a
model is never in memory twice, nor even once.

L layers, H hidden, Q query heads, G key/value heads, D head width, F feed-forward, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.pretrain.models.config import ModelConfig


def _first(parts: Sequence[Tensor]) -> Tensor:
    return parts[0]


@dataclass(frozen=True)
class Piece:
    """One tensor in both forms."""

    name: str
    """In a checkpoint, without numbers."""
    index: tuple[int, ...]
    """(), (layer,), or (layer, expert)."""
    targets: tuple[str, ...]
    """Names in Hugging Face files."""
    split: Callable[[Tensor], Sequence[Tensor]] = lambda whole: (whole,)
    """The checkpoint's tensor to those of the files, in the order of `targets`."""
    merge: Callable[[Sequence[Tensor]], Tensor] = _first
    """The inverse of `split`."""
    vocabulary: bool = False
    """Its first dimension is the vocabulary, padded in checkpoints and not in the files."""


def same(name: str, index: tuple[int, ...], target: str) -> Piece:
    """The same tensor under another name."""
    return Piece(name, index, (target,))


def transposed(name: str, index: tuple[int, ...], target: str) -> Piece:
    """GPT-2's Conv1D keeps `[in, out]`."""
    return Piece(name, index, (target,), lambda whole: (whole.T,), lambda parts: parts[0].T)


def rows(name: str, target: str) -> Piece:
    """A tensor with a row for each token."""
    return Piece(name, (), (target,), vocabulary=True)


def gate_and_up(name: str, index: tuple[int, ...], gate: str, up: str) -> Piece:
    """Both halves of a gated feed-forward layer, `[2F, H]`."""
    return Piece(name, index, (gate, up), lambda whole: whole.chunk(2), lambda parts: torch.cat(list(parts)))


def queries_keys_values(name: str, index: tuple[int, ...], targets: tuple[str, str, str], model: ModelConfig) -> Piece:
    """Megatron's `[(Q + 2G) D, H]`, or its bias `[(Q + 2G) D]`, and the three projections apart."""
    return Piece(
        name,
        index,
        targets,
        lambda whole: split_qkv(whole, model),
        lambda parts: merge_qkv(parts[0], parts[1], parts[2], model),
    )


def split_qkv(qkv: Tensor, model: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Megatron's rows, grouped as (queries of the group, key, value), to q `[Q D, ...]`, k and v `[G D, ...]`."""
    rest = qkv.shape[1:]
    grouped = qkv.view(model.query_groups, model.heads // model.query_groups + 2, model.kv_channels, *rest)
    q, k, v = (part.reshape(-1, *rest) for part in (grouped[:, :-2], grouped[:, -2], grouped[:, -1]))
    return q, k, v


def merge_qkv(q: Tensor, k: Tensor, v: Tensor, model: ModelConfig) -> Tensor:
    """The inverse of `split_qkv`."""
    groups, width, rest = model.query_groups, model.kv_channels, q.shape[1:]
    q = q.reshape(groups, model.heads // groups, width, *rest)
    k, v = (x.reshape(groups, 1, width, *rest) for x in (k, v))
    return torch.cat([q, k, v], 1).flatten(0, 2)
