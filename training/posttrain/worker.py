"""One process of a data-parallel stage; started by `Stage.run` through torchrun, not by hand.

torchrun --nproc-per-node 2 -m training.posttrain.worker --stage MODULE:CLASS --work WORK_DIRECTORY
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist

from millbase.atomic import write_json
from millbase.config import load_config
from millbase.errors import UserError
from millbase.launch import torchrun
from millbase.process import die_with_parent

_CONFIG, _STATS = "config.json", "stats.json"


@dataclass
class Place:
    """Where a process writes: an artifact's work directory in the main process, a folder of its own in the others."""

    path: Path
    scratch: Path
    """Kept over a crash; the same in all processes."""
    stats: dict[str, Any] = field(default_factory=dict)


def launch(stage: Any, work: Path, scratch: Path) -> dict[str, Any]:
    """Run `stage` on as many processes as its configuration says; returns the statistics of the main one."""
    write_json(scratch / _CONFIG, stage.config.to_dict())
    torchrun(
        "training.posttrain.worker",
        nproc=stage.config.processes,
        args=["--stage", f"{type(stage).__module__}:{type(stage).__qualname__}", "--work", str(work)],
        log_dir=scratch / "logs",
    )
    stats: dict[str, Any] = json.loads((scratch / _STATS).read_text(encoding="utf-8"))
    return stats


def main() -> None:
    """Train this process's share; the main process leaves the statistics in a file."""
    die_with_parent()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stage", required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    module, _, name = arguments.stage.partition(":")
    stage_class = getattr(importlib.import_module(module), name)
    scratch = arguments.work / "scratch"
    config = load_config(stage_class.config_class(), scratch / _CONFIG)
    rank = int(os.environ["RANK"])
    if rank:
        os.environ.pop("WANDB_PROJECT", None)  # the main process reports
    path = arguments.work if rank == 0 else scratch / f"rank{rank}"
    path.mkdir(exist_ok=True)
    place = Place(path, scratch)
    stage_class(config).train(place)
    if rank == 0:
        write_json(scratch / _STATS, place.stats)
    dist.destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
