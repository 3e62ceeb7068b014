"""`train_ppo`: from a configuration to a checkpoint artifact, in this process or on several.

from training.posttrain.ppo import PpoConfig, train_ppo
train_ppo(load_config(PpoConfig, "configs/posttrain/ppo_demo.yaml"), "runs/demo/ppo")
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
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group, single_process
from training.posttrain.ppo.trainer import PpoTrainer

STATS = "stats.json"


def train_ppo(config: PpoConfig, out: str | Path) -> Path:
    """Train and write the `checkpoint` artifact `out`: `hf/`, `critic/`, metrics, TensorBoard events, samples.jsonl.

    A killed run continues from its last saved state to the same bytes. Raises UserError for whatever a user can mend.
    """
    inputs: dict[str, Any] = {
        "model": config.model,
        "reference": config.reference,
        "reward_model": config.reward.model,
        # a function's file is an input like any other: another text is another run
        "reward_functions": function_files(config.reward.functions),
        "prompts": glob_files(config.prompts, "prompt files"),
        "monitor_models": [] if config.monitor is None else config.monitor.models,
        "monitor_functions": [] if config.monitor is None else function_files(config.monitor.functions),
        "pretrain_mix": None if config.pretrain_mix is None else config.pretrain_mix.tokens,
        "sft_mix": None if config.sft_mix is None else glob_files(config.sft_mix.data, "instruction files"),
    }
    with create_artifact(out, kind="checkpoint", config=config, inputs=inputs, seed=config.seed) as artifact:
        if config.processes == 1:
            stats = train_worker(config, artifact.path, artifact.scratch, single_process(config.device))
        else:
            stats = _launch(config, artifact.path, artifact.scratch)
        artifact.stats.update(stats)
    return Path(out)


def train_worker(config: PpoConfig, work: Path, scratch: Path, group: Group) -> dict[str, Any]:
    """One process's part of the run; the statistics are the same in every process."""
    logging = transformers.utils.logging
    verbosity, threads = logging.get_verbosity(), torch.get_num_threads()
    logging.set_verbosity_error()  # a new value head is meant to be new
    logging.disable_progress_bar()
    torch.set_num_threads(config.threads or max(1, available_cores() // config.processes))
    keep_freed_memory()
    try:
        return PpoTrainer(config, work, scratch, group).run()
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()
        torch.set_num_threads(threads)


def function_files(references: list[str]) -> list[str]:
    """The files among references `FILE.py:NAME` and `MODULE:NAME`."""
    places = [reference.rpartition(":")[0] for reference in references]
    return [place for place in places if place.endswith(".py")]


def _launch(config: PpoConfig, work: Path, scratch: Path) -> dict[str, Any]:
    write_json(scratch / "config.json", config.to_dict())
    torchrun(
        "training.posttrain.ppo.worker",
        nproc=config.processes,
        args=["--config", str(scratch / "config.json"), "--work", str(work)],
        log_dir=scratch / "logs",
    )
    return json.loads((scratch / STATS).read_text(encoding="utf-8"))
