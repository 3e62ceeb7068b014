"""The reference model's log-probabilities: computed once, and kept under a digest of what they depend on.

The digest covers the reference's weights, the token rows in their order, and the arithmetic. So a resumed run, another
epoch count or another learning rate finds them again, and nothing else does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from millbase.atomic import atomic_write
from millbase.log import get_logger
from training.posttrain.data import Row

logger = get_logger(__name__)


def rows_digest(rows: list[Row], columns: tuple[str, ...], *rest: str) -> str:
    """sha256 hex digest of the `columns` of token rows, in order, and of `rest`."""
    digest = hashlib.sha256(json.dumps([torch.__version__, *rest]).encode())
    for row in rows:
        digest.update(json.dumps([row[column] for column in columns]).encode())
    return digest.hexdigest()


def cached(folder: Path, digest: str, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The tensor kept under `digest` in `folder`, or `compute()`, which is then kept there.

    A file that is damaged or of another length is computed anew; it appears whole or not at all.
    """
    path = folder / f"reference-{digest[:32]}.safetensors"
    if path.is_file():
        try:
            tensor = load_file(path)["logprobs"]
            logger.info("%s: reference log-probabilities read from %s", name, path)
            return tensor
        except Exception as error:  # safetensors raises its own class for damaged files, without a public name
            logger.warning("%s is damaged (%s); computing the reference log-probabilities again", path, error)
    tensor = compute()
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as file:
        file.write(save({"logprobs": tensor.contiguous()}))
    return tensor
