"""How many ranks each machine runs, and how they find one another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from millbase.artifacts import work_directory
from millbase.errors import ConfigError, StageError
from millbase.launch import Nodes, torchrun
from millbase.log import get_logger
from training.launch.config import LauncherConfig

logger = get_logger(__name__)


def ranks_per_node(launcher: LauncherConfig, world_size: int) -> int:
    """Ranks of one machine. ConfigError when they cannot be shared out evenly."""
    ranks, rest = divmod(world_size, launcher.nodes)
    if rest or not ranks:
        raise ConfigError(
            f"{world_size} ranks (parallel.tensor * pipeline * context * data) cannot be shared evenly by "
            f"launcher.nodes {launcher.nodes}; change one of them"
        )
    return ranks


def nodes_of(launcher: LauncherConfig) -> Nodes | None:
    """Where the ranks meet; None when they are all on this machine."""
    if launcher.nodes == 1:
        return None
    if launcher.kind == "slurm":
        return Nodes.of_slurm_job(launcher.nodes)
    host, _, port = (launcher.rendezvous or "").rpartition(":")
    return Nodes(launcher.nodes, host, int(port), launcher.node_rank)


def join(
    launcher: LauncherConfig,
    world_size: int,
    module: str,
    run_file: Path,
    env: Mapping[str, str],
    patience: float = 600.0,
) -> None:
    """Run this machine's ranks of a run that machine 0 started, until they end. `run_file` is written by machine 0.

    StageError when machine 0 does not show up within `patience` seconds, or a rank fails.
    """
    nodes = nodes_of(launcher)
    assert nodes is not None and nodes.rank, "machine 0 runs the whole"
    waited = 0.0
    while not run_file.is_file():
        if waited >= patience:
            raise StageError(
                f"machine 0 wrote no {str(run_file)!r} in {patience:.0f} s; start the same command there with "
                "--node-rank 0, and see that both write to the same file system"
            )
        time.sleep(0.5)
        waited += 0.5
    logger.info("machine %d of %d: meeting at %s:%d", nodes.rank, nodes.count, nodes.address, nodes.port)
    # not below `logs`, which machine 0 empties when it starts
    logs = run_file.parent / "other_logs"
    torchrun(module, ranks_per_node(launcher, world_size), [str(run_file)], logs, env=env, nodes=nodes)


def run_file_of(out: Path, name: str) -> Path:
    """Where machine 0 describes the run that will become `out`."""
    return work_directory(out.resolve()) / "scratch" / name
