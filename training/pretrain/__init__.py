"""Pretraining with Megatron-core on token shards: tensor, pipeline, data and sequence parallelism, on GPUs or CPUs.

    from training.pretrain import PretrainConfig, pretrain
    pretrain(PretrainConfig(data={"tokens": "runs/tokens"}), "runs/pretrain")

Where to look: `config` (every setting), `run` (start), `worker` (one rank), `train` (the loop), `engine` (model and
optimizer), `order` and `data` (which tokens when), `checkpoint` and `continuation` (saving, resuming), `hf` and
`export` (Hugging Face), `model`, `spec`, `attention`, `norms`, `weights`, `optimizer`, `runtime` (Megatron's parts).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.pretrain.config import PretrainConfig
    from training.pretrain.data import DocumentSpan, which_documents
    from training.pretrain.run import pretrain

__all__ = ["DocumentSpan", "PretrainConfig", "pretrain", "which_documents"]

_LAZY = {"DocumentSpan": "data", "PretrainConfig": "config", "pretrain": "run", "which_documents": "data"}
"""Where each name is defined; imported on first use, so that reading a configuration costs no torch."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
