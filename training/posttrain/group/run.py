"""`train_group`: from a configuration to a checkpoint artifact, in this process or on several.

from training.posttrain.group import GroupConfig, train_group
train_group(load_config(GroupConfig, "configs/posttrain/grpo_demo.yaml"), "runs/mine/grpo")
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from millbase.artifacts import create_artifact
from millbase.atomic import write_json
from millbase.files import glob_files
from millbase.launch import torchrun
from millbase.process import available_cores, keep_freed_memory
from training.posttrain.group.config import GroupConfig
from training.posttrain.group.trainer import GroupTrainer
from training.posttrain.ppo.distributed import Group, single_process
from training.posttrain.ppo.run import STATS, function_files


def train_group(config: GroupConfig, out: str | Path) -> Path:
    """Train and write the `checkpoint` artifact `out`: `hf/`, metrics, TensorBoard events, samples.jsonl.

    A killed run continues from its last saved state to the same bytes. Raises UserError for whatever a user can mend.
    """
    inputs: dict[str, Any] = {
        "model": config.model,
        "reference": config.reference,
        "reward_model": config.reward.model,
        # a function's file is an input like any other: another text is another run
        "reward_functions": function_files(config.reward.functions),
        "prompts": glob_files(config.prompts, "prompt files"),
        "sft_mix": None if config.sft_mix is None else glob_files(config.sft_mix.data, "instruction files"),
    }
    with create_artifact(out, kind="checkpoint", config=config, inputs=inputs, seed=config.seed) as artifact:
        if config.processes == 1:
            stats = train_worker(config, artifact.path, artifact.scratch, single_process(config.device))
        else:
            stats = _launch(config, artifact.path, artifact.scratch)
        artifact.stats.update(stats)
    return Path(out)


def train_worker(config: GroupConfig, work: Path, scratch: Path, group: Group) -> dict[str, Any]:
    """One process's part of the run; the statistics are the same in every process."""
    logging = transformers.utils.logging
    verbosity, threads = logging.get_verbosity(), torch.get_num_threads()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(config.threads or max(1, available_cores() // config.processes))
    keep_freed_memory()
    try:
        return GroupTrainer(config, work, scratch, group).run()
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()
        torch.set_num_threads(threads)


def _launch(config: GroupConfig, work: Path, scratch: Path) -> dict[str, Any]:
    write_json(scratch / "config.json", config.to_dict())
    torchrun(
        "training.posttrain.group.worker",
        nproc=config.processes,
        args=["--config", str(scratch / "config.json"), "--work", str(work)],
        log_dir=scratch / "logs",
    )
    return json.loads((scratch / STATS).read_text(encoding="utf-8"))
