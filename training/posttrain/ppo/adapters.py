"""Low-rank adapters over shared frozen weights: policy and critic are two adapters of one model, the reference is none.

Gradient checkpointing runs a forward pass again during the backward pass, so the adapter of a forward pass stays on
until another network is used: callers must finish a backward pass before they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from millbase.seeds import derive_seed
from training.posttrain.config import LoraConfig
from training.posttrain.model import peft_config

POLICY, CRITIC = "policy", "critic"


class Adapters:
    """The adapters of one model and which of them is on."""

    def __init__(self, model: Any, lora: LoraConfig, name: str, seed: int, task: str = "CAUSAL_LM") -> None:
        """Put a first adapter on `model`, whose own weights are frozen from now on; `seed` draws its weights."""
        import peft

        self.lora, self.task, self.seed = lora, task, seed
        with self._drawn(name):
            self.model = peft.get_peft_model(model, peft_config(lora, task), adapter_name=name)
        self.active: str | None = name

    def add(self, name: str) -> None:
        """A further adapter over the same weights."""
        with self._drawn(name):
            self.model.add_adapter(name, peft_config(self.lora, self.task))

    @contextmanager
    def _drawn(self, name: str) -> Iterator[None]:
        """First weights that are the same in every process and after every start."""
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(self.seed, "adapter", name))
            yield

    def use(self, name: str | None) -> None:
        """Turn one adapter on and the others off; None turns all off."""
        if name == self.active:
            return
        if name is None:
            self.model.base_model.disable_adapter_layers()
        else:
            if self.active is None:
                self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(name)
        self.active = name

    def parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """The weights of one adapter (with a whole head, where it has one), by name."""
        return {key: weight for key, weight in self.model.named_parameters() if f".{name}." in key}

    def merged(self, name: str) -> Any:
        """The model with one adapter worked into its weights; all adapters are gone afterwards."""
        self.use(name)
        return self.model.merge_and_unload(adapter_names=[name])
