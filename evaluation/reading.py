"""Reading prompts: from token ids to keys and values that generation goes on from.

Long prompts are read one by one and put side by side afterwards: alone, a prompt needs no mask, so attention skips what
a token may not see, and no padding is computed. Short ones are read together, padded on the left. Keys and values are
kept with room to grow: transformers' own cache copies all of them for every new token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from evaluation.prefix_tree import HEAD_TOKENS
from evaluation.tree_scoring import tree_decoder

if TYPE_CHECKING:
    from training.load import LoadedModel

ALONE_TOKENS = 192
"""Prompts of this length on average are read one by one: enough tokens to keep matrix products busy."""
_ROOM = 64


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer in a buffer with free places at its end."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[torch.Tensor] = []

    def fill(self, keys_BHTd: torch.Tensor, values_BHTd: torch.Tensor) -> None:
        """Take over what has been read."""
        self.lazy_initialization(keys_BHTd, values_BHTd)
        self.keys, self.values = keys_BHTd, values_BHTd
        self._buffers = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append; returns everything so far, as views of the buffers."""
        if not self.is_initialized:
            self.fill(key_states, value_states)
            return self.keys, self.values
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        if not self._buffers or end > self._buffers[0].shape[-2]:
            self._buffers = [_with_room(self.keys, end), _with_room(self.values, end)]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = new
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some of the rows."""
        length = self.keys.shape[-2]
        self._buffers = [_with_room(part[indices], length) for part in (self.keys, self.values)]
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


def _with_room(tensor_BHTd: torch.Tensor, length: int) -> torch.Tensor:
    rows, heads, old, width = tensor_BHTd.shape
    buffer = tensor_BHTd.new_zeros(rows, heads, length + _ROOM, width)
    buffer[:, :, :old] = tensor_BHTd
    return buffer


@dataclass
class Prompts:
    """A batch of prompts that have been read."""

    cache: Any
    mask: torch.Tensor
    """`[B, T]`: 1 where a place holds a token, 0 for padding."""
    last: torch.Tensor
    """`[B, 1]`: position of each prompt's last token."""
    logits: torch.Tensor
    """`[B, V]`: what comes next."""


def shared_head(loaded: LoadedModel, rows: list[list[int]]) -> tuple[int, Any]:
    """Length, keys and values of what all prompts begin with (a task's worked examples), when that saves work."""
    if len(rows) < 2:
        return 0, None
    low, high = min(rows), max(rows)  # the common prefix of all is that of the first and last in order
    size = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    size = min(size, min(map(len, rows)) - 1)  # the last token is read with each prompt: it predicts the next
    decoder = tree_decoder(loaded) if size >= HEAD_TOKENS else None
    if decoder is None:
        return 0, None
    with torch.inference_mode():
        return size, decoder.head_cache(low[:size])


def read_prompts(loaded: LoadedModel, rows: Sequence[list[int]], shared: tuple[int, Any], filler: int) -> Prompts:
    """Read a batch; `shared` is what `shared_head` said, `filler` any token for padding."""
    head, cache = shared
    plain = tree_decoder(loaded) is not None  # full attention in every layer, keys and values as RoomyLayer keeps them
    with torch.inference_mode():
        if plain and not head and sum(map(len, rows)) >= ALONE_TOKENS * len(rows):
            return _one_by_one(loaded, rows)
        if plain:
            cache = Cache(layers=[RoomyLayer() for _ in cache.layers]) if head else None
            if cache is None:
                cache = Cache(layer_class_to_replicate=RoomyLayer)
            for layer, known in zip(cache.layers, shared[1].layers if head else [], strict=True):
                layer.fill(*(part.expand(len(rows), -1, -1, -1) for part in (known.keys, known.values)))
        return _together(loaded, rows, head, cache, filler)


def _together(loaded: LoadedModel, rows: Sequence[list[int]], head: int, cache: Any, filler: int) -> Prompts:
    device = loaded.model.device
    tails = [row[head:] for row in rows]
    width = max(map(len, tails))
    ids_BT = torch.tensor([[filler] * (width - len(row)) + row for row in tails], device=device)
    mask_BT = torch.tensor([[1] * head + [0] * (width - len(row)) + [1] * len(row) for row in tails], device=device)
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)[:, head:]
    output = loaded.model(
        input_ids=ids_BT,
        attention_mask=mask_BT,
        position_ids=positions_BT,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return Prompts(output.past_key_values, mask_BT, positions_BT[:, -1:], output.logits[:, -1].float())


def _one_by_one(loaded: LoadedModel, rows: Sequence[list[int]]) -> Prompts:
    """Each row alone, then all of them in one cache, the longest from the left edge on."""
    device = loaded.model.device
    width = max(map(len, rows))
    layers: list[tuple[torch.Tensor, torch.Tensor]] = []
    logits = []
    for i, row in enumerate(rows):
        read = DynamicCache()
        ids = torch.tensor([row], device=device)
        logits.append(loaded.model(input_ids=ids, past_key_values=read, use_cache=True, logits_to_keep=1).logits[0, -1])
        for number, layer in enumerate(read.layers):
            if i == 0:
                _, heads, _, size = layer.keys.shape
                layers.append(tuple(layer.keys.new_zeros(len(rows), heads, width, size) for _ in range(2)))  # type: ignore[arg-type]
            layers[number][0][i, :, width - len(row) :] = layer.keys[0]
            layers[number][1][i, :, width - len(row) :] = layer.values[0]
    cache = Cache(layers=[RoomyLayer() for _ in layers])
    for layer, (keys, values) in zip(cache.layers, layers, strict=True):
        layer.fill(keys, values)
    mask_BT = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    last_B1 = torch.tensor([[len(row) - 1] for row in rows], device=device)
    return Prompts(cache, mask_BT, last_B1, torch.stack(logits).float())
