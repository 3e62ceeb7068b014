"""What can be wrong between a configuration, its token shards and this machine, found before any rank starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from millbase.artifacts import Manifest, open_artifact
from millbase.errors import ArtifactError, InputError
from millbase.log import get_logger
from millbase.process import available_cores
from training.plan.fits import check_memory
from training.pretrain.config import PretrainConfig
from training.pretrain.models.source import check_same_model, find_model
from training.pretrain.positions import first_sequence
from training.pretrain.sources import TrainingOrder, artifact_paths, check_same_tokenizer
from training.shards import TokenShards

logger = get_logger(__name__)


def check_tokens(config: PretrainConfig) -> list[Manifest]:
    """The manifests of the tokens artifacts, `data.tokens` first, their files verified by digest.

    Raises:
        ArtifactError: no such artifact, another kind, changed files, or no tokenizer in it.
        InputError: an empty split, too few tokens, a token id out of range, a tokenizer of another size than the token
            ids, or artifacts of different tokenizers.
    """
    manifests = [_check_artifact(Path(path)) for path in artifact_paths(config)]
    check_same_tokenizer(config, manifests)
    order = TrainingOrder(config, manifests[0].digest)
    vocab_size = int(manifests[0].stats["vocab_size"])
    for source in order.sources.values():
        shards = source.order.shards
        for split in (shards, TokenShards(source.path / "heldout")):
            largest = split.largest_token()
            if largest >= vocab_size:
                raise InputError(
                    f"{split.directory}: holds token id {largest}, the vocabulary of {config.data.tokens} ends at "
                    f"{vocab_size - 1}; build the tokens again"
                )
    if TokenShards(Path(config.data.tokens) / "heldout").total_tokens == 0:
        raise InputError(
            f"{config.data.tokens}/heldout: the held-out split is empty; give the tokens stage more documents"
        )
    if config.checkpoint.weights_from is not None:
        check_same_model(find_model(config.checkpoint.weights_from), config.model, vocab_size)
    return manifests


def _check_artifact(path: Path) -> Manifest:
    manifest = open_artifact(path, kind="tokens")
    if "vocab_size" not in manifest.stats:
        raise ArtifactError(f"{path}: its manifest has no vocab_size; build the tokens artifact again")
    vocab_size = int(manifest.stats["vocab_size"])
    size = tokenizer_size(path / "tokenizer")
    if size > vocab_size:
        raise InputError(
            f"{path}: its tokenizer has {size} tokens but the shards were made for {vocab_size}; "
            "build the tokens artifact again with this tokenizer"
        )
    if TokenShards(path / "train").total_tokens == 0:
        raise InputError(f"{path}/train: the training split is empty; give the tokens stage more documents")
    return manifest


def check_steps(config: PretrainConfig) -> None:
    """InputError when the sources are used up (`max_epochs`) before the last step."""
    last = first_sequence(config, config.steps) - 1
    if last >= 0:
        TrainingOrder(config).locate(last)


def tokenizer_size(folder: Path) -> int:
    """Number of tokens of a `tokenizer.json`, added ones included; ArtifactError when it is missing or damaged."""
    try:
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        ids = {*content["model"]["vocab"].values(), *(token["id"] for token in content["added_tokens"])}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ArtifactError(
            f"{folder}: no readable tokenizer.json ({error}); build the tokens artifact again"
        ) from None
    return max(ids, default=-1) + 1


def check_machine(config: PretrainConfig, vocab_size: int) -> None:
    """InputError when a rank needs more memory than there is; a warning when threads must share cores."""
    gpu = torch.cuda.is_available()
    ranks = config.parallel.world_size // config.launcher.nodes
    if gpu:
        capacity = float(torch.cuda.get_device_properties(0).total_memory)
    else:
        capacity = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / ranks
    check_memory(config, vocab_size, capacity, "GPU" if gpu else "CPU rank")
    wanted = ranks * config.parallel.threads
    if wanted > available_cores():
        logger.warning(
            "%d ranks of %d threads share %d cores; training will be slow without GPUs",
            ranks,
            config.parallel.threads,
            available_cores(),
        )
