"""The model a stage starts from: loading, checks against tokenizer and configuration, adapters, and writing it out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from millbase.errors import InputError
from training.load import load_model, tokenizer_digest
from training.posttrain.config import LoraConfig, PosttrainConfig
from training.posttrain.templates import use_template


@dataclass
class Start:
    """What training starts from."""

    model: Any
    """A transformers model with float32 weights on the CPU."""
    tokenizer: Any
    path: Path
    """The Hugging Face folder it was read from."""
    max_length: int
    """Longest sequence to train on, in tokens."""
    digest: str = ""
    """Digest of the weights it was read from."""


def load_start(config: PosttrainConfig) -> Start:
    """Load `config.model` as a causal language model with its tokenizer.

    Raises InputError or ArtifactError when it does not load, the tokenizer given is another one, or max_length exceeds
    the model's context.
    """
    loaded = load_model(config.model, device="cpu")
    tokenizer: Any = loaded.tokenizer
    if config.tokenizer is not None:
        tokenizer = _other_tokenizer(config.tokenizer, loaded.path, tokenizer)
    if config.max_length is not None and config.max_length > loaded.max_length:
        raise InputError(
            f"max_length = {config.max_length} exceeds the context of {config.model!r}, {loaded.max_length} tokens; "
            f"set max_length to {loaded.max_length} or less"
        )
    if config.chat_template is not None:
        use_template(tokenizer, config.chat_template)
    return Start(loaded.model, tokenizer, loaded.path, config.max_length or loaded.max_length, loaded.digest)


def new_head(start: Start, auto_class: Any, **settings: Any) -> Start:
    """The same model with a new linear head named `score` instead of next-token logits; `settings` go to its config.

    The head starts normal with standard deviation 1 / sqrt(hidden size + 1) (Stiennon et al. 2020; Huang et al. 2024,
    section 3.2), from torch's global seed, and a bias, where it has one, at 0.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(start.path)
    for name, value in settings.items():
        setattr(config, name, value)
    model = auto_class.from_pretrained(start.path, config=config, dtype=torch.float32, use_safetensors=True)
    # A head that looks for a sequence's last token finds it by the padding after it.
    model.config.pad_token_id = start.tokenizer.pad_token_id
    torch.nn.init.normal_(model.score.weight, std=1 / math.sqrt(model.config.hidden_size + 1))
    if model.score.bias is not None:
        torch.nn.init.zeros_(model.score.bias)
    return Start(model, start.tokenizer, start.path, start.max_length, start.digest)


def _other_tokenizer(folder: str, model_folder: Path, own: Any) -> Any:
    """The tokenizer of `folder`, whose ids must mean what the model's own mean: only the chat template may differ."""
    from transformers import AutoTokenizer

    given, expected = tokenizer_digest(folder), tokenizer_digest(model_folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    if given != expected and tokenizer.get_vocab() != own.get_vocab():
        raise InputError(
            f"tokenizer {folder!r} ({len(tokenizer)} tokens) does not match the checkpoint {str(model_folder)!r} "
            f"({len(own)} tokens): their vocabularies differ; leave tokenizer unset or give the checkpoint's own"
        )
    return tokenizer


def resolve_device(config: PosttrainConfig) -> tuple[str, bool]:
    """(`cpu` or `cuda`, whether to compute in bfloat16).

    Raises InputError when the machine does not have what the configuration asks for.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device = 'cuda' and this machine has no usable GPU; set device=cpu or device=auto")
    if device == "cpu":
        if config.precision == "bfloat16":
            raise InputError("precision = 'bfloat16' is for GPUs; set precision=auto or float32 on a CPU")
        return device, False
    supported = torch.cuda.is_bf16_supported()
    if config.precision == "bfloat16" and not supported:
        raise InputError("precision = 'bfloat16' and this GPU does not support it; set precision=float32")
    return device, supported and config.precision != "float32"


def peft_config(lora: LoraConfig | None, task: str) -> Any:
    """peft's configuration of the adapters (`task`: CAUSAL_LM, SEQ_CLS or TOKEN_CLS), or None for full training."""
    if lora is None:
        return None
    import peft

    return peft.LoraConfig(
        task_type=task,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_dora=lora.dora,
        target_modules="all-linear",
        # A new head has nothing to adapt: it is trained whole.
        modules_to_save=["score"] if task != "CAUSAL_LM" else None,
    )


def export(model: Any, tokenizer: Any, folder: Path, stop_id: int) -> Path:
    """Write a Hugging Face folder: weights (adapters merged), config, tokenizer, and generation ending at `stop_id`."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.config.use_cache = True
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate():
        ends = {stop_id, *_as_list(tokenizer.eos_token_id), *_as_list(model.generation_config.eos_token_id)}
        model.generation_config.eos_token_id = sorted(ends)
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _as_list(value: int | list[int] | None) -> list[int]:
    return [] if value is None else [value] if isinstance(value, int) else list(value)
