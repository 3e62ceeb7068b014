"""One process of a data-parallel run of a group method; started by `train_group` through torchrun, not by hand.

torchrun --nproc-per-node 2 -m training.posttrain.group.worker --config config.json --work WORK_DIRECTORY
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch.distributed as dist

from millbase.atomic import write_json
from millbase.config import load_config
from millbase.errors import UserError
from millbase.process import die_with_parent
from training.posttrain.group.config import GroupConfig
from training.posttrain.group.run import STATS, train_worker
from training.posttrain.ppo.distributed import join_group


def main() -> None:
    """Train this process's share; the main process leaves the statistics in a file."""
    die_with_parent()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    config = load_config(GroupConfig, arguments.config)
    group = join_group(config.device)
    scratch = arguments.work / "scratch"
    stats = train_worker(config, arguments.work, scratch, group)
    if group.main:
        write_json(scratch / STATS, stats)
    dist.destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
