"""A teacher's next-token distributions: run at every step, or its most probable tokens from a memory-mapped file."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from millbase.atomic import fsync_tree
from millbase.log import get_logger
from millbase.progress import progress
from training.posttrain.encode import IGNORED
from training.posttrain.stages.reference import rows_digest

logger = get_logger(__name__)


def labelled(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """`[B, T - 1]`: the positions whose next token is trained on."""
    return batch["labels"][:, 1:] != IGNORED


def logits_at(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """`[N, V]` float32 logits at the labelled positions of a batch, rows one after the other."""
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
    return output.logits[:, :-1][labelled(batch)].float()


@dataclass
class KeptTokens:
    """The teacher's `k` most probable tokens at every labelled position of a data set, memory-mapped."""

    ids: np.ndarray
    """`[positions, k]` uint32."""
    logprobs: np.ndarray
    """`[positions, k]` float32, descending."""
    starts: np.ndarray
    """`[rows + 1]` first position of each row."""

    def at(self, rows: list[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """(token ids, log-probabilities), `[N, k]` each, of the positions of some rows, in their order."""
        places = np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in rows])
        ids = torch.from_numpy(self.ids[places].astype(np.int64)).to(device)
        return ids, torch.from_numpy(np.ascontiguousarray(self.logprobs[places])).to(device)


def keep_tokens(
    teacher: Any, digest: str, dataset: Any, collate: Any, k: int, temperature: float, batch_size: int, folder: Path
) -> KeptTokens:
    """Compute the teacher's tokens for all rows, or find them under their digest in `folder`.

    The files appear whole or not at all: they are written to a folder of another name, flushed, and renamed.
    """
    rows = list(dataset)
    key = rows_digest(rows, ("input_ids", "labels"), digest, str(k), str(temperature))
    final = folder / f"teacher-{key[:32]}"
    starts = np.concatenate([[0], np.cumsum([sum(t != IGNORED for t in row["labels"][1:]) for row in rows])])
    if not final.is_dir():
        temporary = folder / f".{final.name}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _compute(teacher, rows, starts, collate, k, temperature, batch_size, temporary)
        fsync_tree(temporary)
        if final.is_dir():  # another run was faster
            shutil.rmtree(temporary)
        else:
            temporary.rename(final)
    else:
        logger.info("the teacher's tokens are read from %s", final)
    ids, logprobs = (np.load(final / f"{name}.npy", mmap_mode="r") for name in ("ids", "logprobs"))
    return KeptTokens(ids, logprobs, starts)


@torch.no_grad()
def _compute(
    teacher: Any,
    rows: list[Any],
    starts: np.ndarray,
    collate: Any,
    k: int,
    temperature: float,
    batch: int,
    folder: Path,
) -> None:
    shape = (int(starts[-1]), k)
    ids = np.lib.format.open_memmap(folder / "ids.npy", mode="w+", dtype=np.uint32, shape=shape)
    logprobs = np.lib.format.open_memmap(folder / "logprobs.npy", mode="w+", dtype=np.float32, shape=shape)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]), reverse=True)
    with progress("the teacher's tokens", total=len(order), unit="rows") as bar:
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            inputs = {name: value.to(teacher.device) for name, value in collate([rows[row] for row in chosen]).items()}
            found = (logits_at(teacher, inputs) / temperature).log_softmax(dim=1).topk(k, dim=1)
            places = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in chosen])
            ids[places] = found.indices.cpu().numpy()
            logprobs[places] = found.values.cpu().numpy()
            bar.advance(len(chosen))
    ids.flush()
    logprobs.flush()
