"""A key-value cache that is written in place: transformers' own copies all of it for every token."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_GROWTH = 1.5


def sampling_cache(config: Any) -> DynamicCache:
    """An empty cache for a model of `config`; layers of other kinds than full attention stay as transformers has
    them."""
    cache = DynamicCache(config=config)
    cache.layers = [_BufferedLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _BufferedLayer(DynamicLayer):
    """Keys and values [B, heads, T, D] as views of buffers with room for more tokens."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Buffers without room."""
        super().lazy_initialization(key_states, value_states)
        self.buffers = (key_states[..., :0, :], value_states[..., :0, :])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the states of new tokens; returns those of all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        keys, values = self.buffers
        if end > keys.shape[-2]:
            self.buffers = keys, values = _grown(keys, start, end), _grown(values, start, end)
        keys[..., start:end, :], values[..., start:end, :] = key_states, value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows of the batch."""
        length = self.get_seq_length()
        if length:
            keys, values = self.buffers
            self.buffers = keys[indices], values[indices]
            self.keys, self.values = (buffer[..., :length, :] for buffer in self.buffers)


def _grown(buffer: torch.Tensor, filled: int, needed: int) -> torch.Tensor:
    *outer, _, width = buffer.shape
    new = buffer.new_empty(*outer, int(needed * _GROWTH), width)
    new[..., :filled, :] = buffer[..., :filled, :]
    return new
