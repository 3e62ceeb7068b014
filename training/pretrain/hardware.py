"""What a configuration asks of the machine, and which kernels its layers are made of."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import torch

from millbase.errors import StageError
from training.pretrain.config import PretrainConfig

_ENGINE = "transformer_engine"


def check_hardware(config: PretrainConfig) -> None:
    """StageError when this machine cannot do what the configuration asks; before any process group starts."""
    gpu = torch.cuda.is_available()
    if config.kernels == _ENGINE and not (gpu and find_spec(_ENGINE)):
        raise StageError(
            "kernels transformer_engine needs a GPU and the package transformer-engine[pytorch]; install it or set "
            "kernels=torch"
        )
    if config.fp8 == "none":
        return
    if not gpu or torch.cuda.get_device_capability() < (8, 9):
        name = torch.cuda.get_device_name() if gpu else "a CPU"
        raise StageError(
            f"fp8 {config.fp8} needs a GPU of compute capability 8.9 or more (Ada, Hopper, Blackwell), not {name}; "
            "set fp8=none"
        )
    if implementation(config) != _ENGINE:
        raise StageError(
            f"fp8 {config.fp8} needs Transformer Engine: pip install transformer-engine[pytorch] and kernels=auto (not "
            "with mask_across_documents), or set fp8=none"
        )


def implementation(config: PretrainConfig) -> Literal["local", "transformer_engine"]:
    """Megatron's `transformer_impl`. Masks between documents and encoders are left to our own layers."""
    ours = config.kernels == "torch" or config.data.mask_across_documents or config.model.masked_lm is not None
    if ours or not torch.cuda.is_available() or find_spec("transformer_engine") is None:
        return "local"
    return "transformer_engine"
