"""From a distributed checkpoint to a Hugging Face folder, without Megatron and in one process.

Tensor by tensor: in memory is one safetensors file's worth (`file_bytes`), never the model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from millbase.atomic import fsync_tree
from millbase.errors import InputError
from training.pretrain.config import PretrainConfig
from training.pretrain.models.config import ModelConfig
from training.pretrain.models.hf import pieces
from training.pretrain.models.hf.files import HFWriter
from training.pretrain.models.hf.settings import hf_config
from training.pretrain.models.shards import CheckpointTensors

FILE_BYTES = 5 * 1024**3


def export_hf(
    checkpoint: str | Path, out: Path, config: PretrainConfig, vocab_size: int, tokenizer: Path, end_of_document: int
) -> Any:
    """Write the checkpoint as a Hugging Face folder with its tokenizer; returns the model that transformers loads.

    `end_of_document` becomes the end (and start) token: it ends every document the model was trained on.
    """
    ids = {"pad_token_id": padding_token(tokenizer, end_of_document)}
    if not config.model.masked_lm:
        ids |= {"bos_token_id": end_of_document, "eos_token_id": end_of_document}
    length = config.data.sequence_length
    write_hf(Path(checkpoint), out, config.model, vocab_size, length, config.dtype, tokenizer, ids)
    return load_hf(out, config.model, config.dtype)


def write_hf(
    checkpoint: Path,
    out: Path,
    model: ModelConfig,
    vocab_size: int,
    sequence_length: int,
    dtype: str,
    tokenizer: Path,
    token_ids: Mapping[str, Any],
    file_bytes: int = FILE_BYTES,
) -> None:
    """Write a checkpoint's weights, in `dtype`, with configuration and tokenizer; the folder `out` appears whole.

    `token_ids`: `bos_token_id`, `eos_token_id` and `pad_token_id`, where there are any.

    Vocabulary padding is left out. Layers of multi-token prediction are written for DeepSeek-V3 alone, under the names
    of its published files; no other architecture of transformers has a place for them.

    Raises:
        ArtifactError: not a checkpoint, not of this model, or not safe to read.
        InputError: no tokenizer there.
    """
    from transformers import GenerationConfig

    tensors = CheckpointTensors(checkpoint)
    temporary = out.parent / f".{out.name}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    writer = HFWriter(temporary, file_bytes)
    for piece in pieces(model):
        whole = tensors.read(piece.name, piece.index)
        if piece.vocabulary:
            whole = whole[:vocab_size]
        # the biases that balance experts stay in float32: bfloat16 would swallow their small steps
        kept = whole if piece.name.endswith("expert_bias") else whole.to(getattr(torch, dtype))
        writer.add(zip(piece.targets, piece.split(kept), strict=True))
    writer.finish()
    hf_config(model, vocab_size, sequence_length, dtype, token_ids).save_pretrained(temporary)
    if not model.masked_lm:
        GenerationConfig(**token_ids).save_pretrained(temporary)
    for file in sorted(tokenizer.iterdir()):
        if file.is_file() and (file.name.startswith(TOKENIZER_FILES) or file.suffix == ".jinja"):
            shutil.copyfile(file, temporary / file.name)
    fsync_tree(temporary)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)


TOKENIZER_FILES = ("tokenizer", "special_tokens_map", "vocab", "merges", "added_tokens")


def load_hf(folder: Path, model: ModelConfig, dtype: str) -> Any:
    """The exported model as transformers loads it, in evaluation mode.

    Weights that transformers misses or does not know would be an error of ours, so they stop the run.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    kind = AutoModelForMaskedLM if model.masked_lm else AutoModelForCausalLM
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it would list what we look at ourselves
    try:
        loaded, info = kind.from_pretrained(folder, dtype=getattr(torch, dtype), output_loading_info=True)
    finally:
        logging.set_verbosity(before)
    extra = {name for name in info["unexpected_keys"] if not _is_prediction_layer(name, model)}
    wrong = {"missing": set(info["missing_keys"]), "unexpected": extra, "mismatched": set(info["mismatched_keys"])}
    assert not any(wrong.values()), f"{folder}: the weights do not fit: {wrong}"
    return loaded.eval()


def _is_prediction_layer(name: str, model: ModelConfig) -> bool:
    depth = model.mtp.depth if model.mtp else 0
    return any(name.startswith(f"model.layers.{layer}.") for layer in range(model.layers, model.layers + depth))


def padding_token(tokenizer: Path, default: int | None) -> int | None:
    """Id of the tokenizer's padding token, or `default` when it names none."""
    try:
        settings = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
        added = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{tokenizer}: not a tokenizer folder ({error}); build the tokens artifact again") from None
    name = settings.get("pad_token")
    name = name["content"] if isinstance(name, dict) else name
    return next((int(token["id"]) for token in added if token["content"] == name), default)
