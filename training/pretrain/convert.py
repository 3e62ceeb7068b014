"""Models in and out: a Hugging Face folder to a distributed checkpoint of Megatron's, and back.

    llmill checkpoint import model=models/Llama-3-8B --out runs/llama
    llmill checkpoint export checkpoint=runs/mine/pretrain --out runs/mine/exported

Neither needs Megatron's model, a GPU or several processes: tensors are read, converted and written one at a time, so
that memory holds one tensor (import) or one file (export), never the model.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from millbase.artifacts import create_artifact
from millbase.config import Config
from millbase.errors import InputError
from millbase.log import get_logger
from training.load import tokenizer_digest
from training.pretrain.checkpoint import RunState, finish
from training.pretrain.export import TOKENIZER_FILES, padding_token, write_hf
from training.pretrain.models.hf import Piece, pieces
from training.pretrain.models.hf.files import HFWeights
from training.pretrain.models.shards import Chunk, write_tensors
from training.pretrain.models.source import ModelSource, find_model

logger = get_logger(__name__)

Kept = Literal["keep", "float32", "bfloat16"]


class ImportConfig(Config):
    """Take a Hugging Face model in as a checkpoint that pretraining can start from (`checkpoint.weights_from`)."""

    model: str
    """Folder of the model: config.json, safetensors files, tokenizer."""
    dtype: Kept = "keep"
    """Type of the weights in the checkpoint; `keep` leaves them as they are in the files."""


class ExportConfig(Config):
    """Write a checkpoint, of a finished or unfinished run and of any layout, as a Hugging Face folder."""

    checkpoint: str
    """A pretraining artifact, a checkpoint folder, or the work directory of a run."""
    tokenizer: str | None = None
    """Folder of the tokenizer; default the one beside the checkpoint."""
    dtype: Kept = "keep"
    """Type of the weights in the files."""
    file_gigabytes: float = Field(default=5.0, gt=0)
    """Largest size of a file (10^9 bytes); also what the export holds in memory."""


def import_model(config: ImportConfig, out: str | Path) -> Path:
    """Write the `checkpoint` artifact `out`: `megatron/` (weights, no optimizer state) and `hf/` (the files, linked).

    Weights that our models have no place for (a pooler, say) are left behind and listed in the manifest.

    Raises:
        InputError: no model there, one that we do not have, or files that do not fit its configuration.
    """
    source = find_model(config.model)
    if source.distributed:
        raise InputError(f"{config.model}: is a Megatron checkpoint already; give a Hugging Face folder")
    files = HFWeights(source.folder)
    out = Path(out)
    with create_artifact(out, kind="checkpoint", config=config) as art:
        new = art.path / ".megatron.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        write_tensors([_chunk(piece, source, files, config.dtype) for piece in pieces(source.model)], new)
        _state(source, config.dtype).write(new)
        finish(new, art.path / "megatron")
        _link_files(source.folder, art.path / "hf")
        left = sorted(name for name in files.names if name not in files.read and not _is_copy(name, source))
        if left:
            logger.warning("%s: not imported: %s", source.folder, _some(left))
        art.stats.update(
            stage="import",
            vocab_size=source.vocab_size,
            family=source.model.family,
            not_imported=left,
            **({"tokenizer_digest": tokenizer_digest(source.tokenizer)} if source.tokenizer else {}),
        )
    return out


def _chunk(piece: Piece, source: ModelSource, files: HFWeights, dtype: Kept) -> Chunk:
    """The tensor of `piece` as a chunk of the checkpoint; its shape is found without reading it."""
    model = source.model
    shapes = [files.shape(target) for target in piece.targets]
    shape = tuple(piece.merge([torch.empty(given, device="meta") for given in shapes]).shape)
    rows = shape[0]
    if piece.vocabulary:
        rows = -(-shape[0] // model.vocab_multiple) * model.vocab_multiple
        shape = (rows, *shape[1:])
    keep = dtype == "keep" or piece.name.endswith("expert_bias")
    wanted = files.dtype(piece.targets[0]) if keep else getattr(torch, dtype)

    def make() -> torch.Tensor:
        tensor = piece.merge([files.tensor(target) for target in piece.targets]).to(wanted)
        missing = rows - tensor.size(0)
        return torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])]) if missing else tensor

    lead = _stacked(piece, source)
    numbered = len(lead) < len(piece.index)
    key = piece.name
    if numbered:
        first, rest = piece.name.split(".layers.", 1)
        key = f"{first}.layers.{piece.index[0]}.{rest}"
    return Chunk(
        key=key,
        whole=(*(size for _, size in lead), *shape),
        offsets=(*(at for at, _ in lead), *(0 for _ in shape)),
        sizes=(*(1 for _ in lead), *shape),
        dtype=wanted,
        make=make,
    )


def _stacked(piece: Piece, source: ModelSource) -> list[tuple[int, int]]:
    """(place, size) of the stacked dimensions: layers only where all are alike, then experts."""
    model, found = source.model, []
    if piece.index and model.uniform and piece.name.startswith("decoder."):
        found.append((piece.index[0], model.layers))
    if len(piece.index) > 1 and model.moe is not None:
        found.append((piece.index[1], model.moe.experts))
    return found


def _state(source: ModelSource, dtype: Kept) -> RunState:
    identity = {"model": source.model.to_dict(), "dtype": source.dtype if dtype == "keep" else dtype}
    return RunState(
        step=0,
        identity=identity,
        dataset_digest="",
        tokenizer_digest=tokenizer_digest(source.tokenizer) if source.tokenizer else "",
        vocab_size=source.vocab_size,
        stage={"sequence_length": source.sequence_length},
    )


def _link_files(folder: Path, target: Path) -> None:
    """The model's files in `target`: links where the file system can, else copies."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in sorted(folder.iterdir()):
        wanted = file.name.endswith(".safetensors") or file.name.endswith(".index.json") or file.suffix == ".jinja"
        if not file.is_file() or not (
            wanted or file.name.startswith((*TOKENIZER_FILES, "config", "generation_config"))
        ):
            continue
        try:
            os.link(file.resolve(), target / file.name)
        except OSError:
            shutil.copyfile(file, target / file.name)


def _is_copy(name: str, source: ModelSource) -> bool:
    """Tensors in the files that are no weights of their own: tied outputs, causal masks, rotary tables."""
    model = source.model
    tied = name in ("lm_head.weight", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    if tied and model.tied_embeddings:
        return True
    if name.endswith(("attn.bias", "attn.masked_bias", "rotary_emb.inv_freq", "embeddings.position_ids")):
        return True
    return name.endswith(("embed_tokens.weight", "shared_head.head.weight")) and model.mtp is not None


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def export_model(config: ExportConfig, out: str | Path) -> Path:
    """Write the `checkpoint` artifact `out` with the Hugging Face folder `hf/`.

    Raises:
        ArtifactError: no such checkpoint, or a damaged one.
        InputError: no tokenizer, or no Megatron checkpoint there.
    """
    source = find_model(config.checkpoint)
    if not source.distributed:
        raise InputError(f"{config.checkpoint}: has no Megatron checkpoint; it is a Hugging Face folder already")
    tokenizer = Path(config.tokenizer) if config.tokenizer else source.tokenizer
    if tokenizer is None:
        raise InputError(f"{config.checkpoint}: no tokenizer is beside it; give its folder as tokenizer=FOLDER")
    if source.model.mtp and source.model.family != "deepseek_v3":
        logger.warning("layers of multi-token prediction are left out: a %s model has none", source.model.family)
    dtype = source.dtype if config.dtype == "keep" else config.dtype
    with create_artifact(out, kind="checkpoint", config=config) as art:
        write_hf(
            source.folder,
            art.path / "hf",
            source.model,
            source.vocab_size,
            source.sequence_length,
            dtype,
            tokenizer,
            token_ids(tokenizer, decoder=source.model.masked_lm is None),
            file_bytes=int(config.file_gigabytes * 1e9),
        )
        art.stats.update(
            stage="export",
            vocab_size=source.vocab_size,
            family=source.model.family,
            tokenizer_digest=tokenizer_digest(art.path / "hf"),
        )
    return Path(out)


def token_ids(tokenizer: Path, decoder: bool) -> dict[str, Any]:
    """Ids that start, end and fill up a sequence: what config.json beside the tokenizer says, else its usual tokens."""
    if (tokenizer / "config.json").is_file():
        config = json.loads((tokenizer / "config.json").read_text(encoding="utf-8"))
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        return {name: config[name] for name in names if config.get(name) is not None}
    content = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {token["content"]: int(token["id"]) for token in content["added_tokens"]}
    end = next((ids[name] for name in ("<|endoftext|>", "</s>", "[SEP]") if name in ids), None)
    found = {"pad_token_id": padding_token(tokenizer, end)}
    return found | ({"bos_token_id": end, "eos_token_id": end} if decoder else {})
