"""From a distributed checkpoint to a Hugging Face folder, without Megatron and in one process.

A checkpoint holds whole tensors by name, cut into shards; torch's reader puts them together whatever the layout was.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from millbase.atomic import fsync_tree
from millbase.errors import InputError
from training.pretrain.checkpoint import check_safe
from training.pretrain.config import PretrainConfig
from training.pretrain.hf import hf_config, to_hf


def whole_weights(checkpoint: str | Path) -> dict[str, torch.Tensor]:
    """The model's whole tensors (layers stacked in front) of a distributed checkpoint, without the optimizer's.

    Raises:
        ArtifactError: not a checkpoint, or its index holds more than tensors.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    check_safe(Path(checkpoint))
    metadata = FileSystemReader(checkpoint).read_metadata()
    state = {
        name: torch.empty(item.size, dtype=item.properties.dtype)
        for name, item in metadata.state_dict_metadata.items()
        if isinstance(item, TensorStorageMetadata) and not name.startswith("optimizer.")
    }
    load(state, storage_reader=FileSystemReader(checkpoint), no_dist=True)
    return state


def export_hf(
    checkpoint: str | Path, out: Path, config: PretrainConfig, vocab_size: int, tokenizer: Path, end_of_document: int
) -> Any:
    """Write the checkpoint as a Hugging Face folder with its tokenizer; returns the model (transformers).

    `end_of_document` becomes the end (and start) token: it ends every document the model was trained on.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    ids = {
        "bos_token_id": end_of_document,
        "eos_token_id": end_of_document,
        "pad_token_id": padding_token(tokenizer, end_of_document),
    }
    settings = hf_config(config.model, vocab_size, config.data.sequence_length, config.dtype, ids)
    model = AutoModelForCausalLM.from_config(settings, dtype=getattr(torch, config.dtype))
    missing, unexpected = model.load_state_dict(
        to_hf(whole_weights(checkpoint), config.model, vocab_size), strict=False
    )
    tied = {"lm_head.weight"} if config.model.tied_embeddings else set()
    assert set(missing) <= tied and not unexpected, f"weights do not fit: missing {missing}, unexpected {unexpected}"
    model.tie_weights()
    model.generation_config = GenerationConfig(**ids)
    temporary = out.parent / f".{out.name}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    model.eval().save_pretrained(temporary)
    for file in sorted(tokenizer.iterdir()):
        if file.is_file() and file.name != "manifest.json":
            shutil.copyfile(file, temporary / file.name)
    fsync_tree(temporary)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    return model


def padding_token(tokenizer: Path, default: int) -> int:
    """Id of the tokenizer's padding token, or `default` when it names none."""
    try:
        settings = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
        added = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{tokenizer}: not a tokenizer folder ({error}); build the tokens artifact again") from None
    name = settings.get("pad_token")
    name = name["content"] if isinstance(name, dict) else name
    return next((int(token["id"]) for token in added if token["content"] == name), default)
