"""Steps that are passed over because the configuration or a rewind says so, and going back to before them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from millbase.atomic import write_json
from millbase.errors import ArtifactError, StageError
from millbase.log import get_logger
from training.pretrain.checkpoint import RunState, complete_checkpoints, delete_after, latest_checkpoint, step_of
from training.pretrain.config import PretrainConfig
from training.pretrain.data_config import step_range
from training.pretrain.guards import clipped
from training.pretrain.saving import damage

logger = get_logger(__name__)

REWINDS = "rewinds.json"
"""In scratch/: the steps that rewinds of this run pass over, as `[[first, after], ...]` in the order they came."""


def read_rewinds(scratch: Path) -> list[range]:
    """Steps that earlier rewinds of the run pass over."""
    try:
        return [range(first, after) for first, after in json.loads((scratch / REWINDS).read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []


def all_skips(config: PretrainConfig, scratch: Path) -> list[range]:
    """Every range of steps that is passed over."""
    return [*(step_range(text) for text in config.skip_steps), *read_rewinds(scratch)]


def fits(state: RunState, skips: list[range], order: Any) -> bool:
    """True when the steps of a checkpoint took the sequences that are wanted now. `order`: a TrainingOrder."""
    return clipped(skips, state.step) == state.passed_over and bool(order.past(state.sequences) == state.order)


def usable(directory: Path, skips: list[range], order: Any) -> bool:
    """True when a checkpoint says where it stands and `fits`; one that does not say so is named in a warning."""
    try:
        return fits(RunState.read(directory), skips, order)
    except ArtifactError as error:
        logger.warning("%s", error)
        return False


@dataclass(frozen=True)
class Rewound:
    """Where a rewind leads."""

    checkpoint: Path
    skipped: range


def rewind(config: PretrainConfig, scratch: Path, checkpoints: Path, step: int) -> Rewound:
    """Note that `step` and the `guard.rewind_steps` before it are passed over, and find the checkpoint to go on from.

    All ranks call it; rank 0 writes. Checkpoints after that one are deleted. Should the process die in between, the
    same note makes the next start choose the same checkpoint.
    """
    first = max(0, step - config.guard.rewind_steps)
    # a checkpoint that old may be gone: then pass over what comes after the oldest one
    first = max(first, min((step_of(c) for c in complete_checkpoints(checkpoints, verify=False)), default=0))
    dist.barrier()
    if dist.get_rank() == 0:
        noted = [[piece.start, piece.stop] for piece in read_rewinds(scratch)]
        write_json(scratch / REWINDS, [*noted, [first, step + 1]])
    dist.barrier()
    found = latest_checkpoint(checkpoints, lambda directory: step_of(directory) <= first, damage)
    if found is None:
        raise StageError(
            f"step {step} cannot be rewound, there is no whole checkpoint of step {first} or before; the same command "
            f"starts over and passes over steps {first} to {step}"
        )
    dist.barrier()
    if dist.get_rank() == 0:
        delete_after(checkpoints, step_of(found))
    dist.barrier()
    return Rewound(found, range(first, step + 1))
