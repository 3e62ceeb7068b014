"""One process of a data-parallel run of a group method; started by `train_group` through torchrun, not by hand.

torchrun --nproc-per-node 2 -m training.posttrain.group.worker --config config.json --work WORK_DIRECTORY
"""

from __future__ import annotations

from training.posttrain.group.config import GroupConfig
from training.posttrain.group.run import train_worker
from training.posttrain.ppo.worker import run_worker

if __name__ == "__main__":
    run_worker(GroupConfig, train_worker, (__doc__ or "").splitlines()[0])
