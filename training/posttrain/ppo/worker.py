"""One process of a data-parallel PPO run; started by `train_ppo` through torchrun, not by hand.

torchrun --nproc-per-node 2 -m training.posttrain.ppo.worker --config config.json --work WORK_DIRECTORY
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from millbase.atomic import write_json
from millbase.config import load_config
from millbase.errors import UserError
from millbase.process import die_with_parent
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import join_group
from training.posttrain.ppo.run import STATS, train_worker


def run_worker(config_class: type[Any], train: Callable[..., dict[str, Any]], description: str) -> None:
    """Train this process's share by `train(config, work, scratch, group)`; the main process leaves the statistics in a
    file. A mistake of the user's ends the process with one line. Group methods start so too."""
    die_with_parent()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        config = load_config(config_class, arguments.config)
        group = join_group(config.device)
        scratch = arguments.work / "scratch"
        stats = train(config, arguments.work, scratch, group)
        if group.main:
            write_json(scratch / STATS, stats)
        dist.destroy_process_group()
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    run_worker(PpoConfig, train_worker, (__doc__ or "").splitlines()[0])
