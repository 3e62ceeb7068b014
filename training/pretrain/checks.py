"""What can be wrong between a configuration, its token shards and this machine, found before any rank starts."""

from __future__ import annotations

import json
from pathlib import Path

from millbase.artifacts import Manifest, open_artifact
from millbase.errors import ArtifactError, InputError
from millbase.log import get_logger
from millbase.process import available_cores
from training.pretrain.config import PretrainConfig
from training.pretrain.order import SequenceOrder
from training.pretrain.shards import TokenShards

logger = get_logger(__name__)


def check_tokens(config: PretrainConfig) -> Manifest:
    """The tokens artifact's manifest, its files verified.

    Raises:
        ArtifactError: no such artifact, another kind, changed files, or no tokenizer in it.
        InputError: an empty split, too few tokens, or a tokenizer of another size than the token ids.
    """
    manifest = open_artifact(config.data.tokens, kind="tokens")
    path = Path(config.data.tokens)
    if "vocab_size" not in manifest.stats:
        raise ArtifactError(f"{path}: its manifest has no vocab_size; build the tokens artifact again")
    vocab_size = int(manifest.stats["vocab_size"])
    size = tokenizer_size(path / "tokenizer")
    if size > vocab_size:
        raise InputError(
            f"{path}: its tokenizer has {size} tokens but the shards were made for {vocab_size}; "
            "build the tokens artifact again with this tokenizer"
        )
    train, heldout = TokenShards(path / "train"), TokenShards(path / "heldout")
    for name, shards in (("training", train), ("held-out", heldout)):
        if shards.total_tokens == 0:
            raise InputError(f"{shards.directory}: the {name} split is empty; give the tokens stage more documents")
    SequenceOrder(train, manifest.digest, config.seed, config.data.sequence_length)
    largest = int(max(train.tokens(d).max() for d in range(min(len(train), 100)) if train.lengths[d]))
    if largest >= vocab_size:
        raise InputError(
            f"{train.directory}: holds token id {largest}, the vocabulary ends at {vocab_size - 1}; build it again"
        )
    return manifest


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


def check_machine(config: PretrainConfig) -> None:
    """Warn when more threads are asked for than there are cores: it works, and slowly."""
    wanted = config.parallel.world_size * config.parallel.threads
    if wanted > available_cores():
        logger.warning(
            "%d ranks of %d threads share %d cores; training will be slow without GPUs",
            config.parallel.world_size,
            config.parallel.threads,
            available_cores(),
        )
