"""QLoRA (Dettmers et al. 2023): frozen weights in 4 bits under low-rank adapters; needs a GPU and bitsandbytes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from millbase.errors import InputError
from training.posttrain.config import PosttrainConfig
from training.posttrain.model import resolve_device


def check_quantization(config: PosttrainConfig) -> None:
    """Raise InputError when weights cannot be held in 4 bits here."""
    device, _ = resolve_device(config)
    if device != "cuda":
        raise InputError("quantize needs a GPU, and this run is on a CPU; set quantize=false (plain LoRA)")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("quantize needs bitsandbytes: pip install bitsandbytes, or set quantize=false (plain LoRA)")


def in_four_bits(path: Path) -> Any:
    """The causal model of a Hugging Face folder on the GPU: NF4 weights, double quantisation (section 3)."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        path, quantization_config=settings, device_map={"": 0}, use_safetensors=True
    )


def unquantised(model: Any, path: Path) -> Any:
    """The adapters of `model` on the float32 weights of the Hugging Face folder `path`.

    Merging needs them: adapters merged into 4-bit weights would be rounded with them.
    """
    import peft
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, use_safetensors=True)
    whole = peft.get_peft_model(base, model.peft_config["default"])
    adapters = {name: value.float().cpu() for name, value in peft.get_peft_model_state_dict(model).items()}
    peft.set_peft_model_state_dict(whole, adapters)
    return whole
