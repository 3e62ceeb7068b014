"""Runs several tiny trainings one after the other in one process, for tests: a process costs more than they do.

    python one_rank.py SCENARIOS.json     # [{"name", "config", "work", "ruin": {step: factor}, "disk": bytes}, ...]

Prints a line of JSON for each: {"name", "start", "error", "digest" of the weights}. `ruin` multiplies the loss that the
engine reports for a step ("nan" too); `disk` limits the size of files.
"""

import hashlib
import json
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from millbase.artifacts import open_artifact
from millbase.config import load_config
from millbase.errors import UserError
from training.pretrain import runtime, worker
from training.pretrain.config import PretrainConfig
from training.pretrain.continuation import find_start
from training.pretrain.heartbeat import Heartbeat


def ruined(engine: Any, ruin: dict[str, Any]) -> None:
    """Let the engine report other losses at the steps of `ruin`."""
    original = engine.backward

    def backward(batches: Any, step: int, stop: bool = False) -> Any:
        summed = original(batches, step, stop)
        if str(step) not in ruin:
            return summed
        return replace(summed, nll=summed.nll * float(ruin[str(step)]))

    engine.backward = backward


def digest(engine: Any) -> str:
    """Of all weights."""
    found = hashlib.sha256()
    for chunk in engine.chunks:
        for name, weight in sorted(chunk.named_parameters()):
            rows = getattr(weight, "_local_tensor", weight)  # with ZeRO-2 and 3; of one rank, all rows
            found.update(name.encode() + rows.detach().float().numpy().tobytes())
    return found.hexdigest()


def run(scenario: dict[str, Any]) -> dict[str, Any]:
    """One training; `error` is None when it came to its end or was stopped with all saved."""
    from megatron.core import parallel_state

    parallel_state.destroy_model_parallel()
    config = load_config(PretrainConfig, scenario["config"])
    work = Path(scenario["work"])
    (work / "scratch").mkdir(parents=True, exist_ok=True)
    heartbeat = Heartbeat(work / "scratch" / "heartbeats", 0, 1, 60)
    start, config = find_start(config, open_artifact(config.data.tokens))
    trainer = worker.assemble(config, work, "one", None if start is None else str(start), heartbeat)
    ruined(trainer.engine, scenario.get("ruin", {}))
    error = None
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    if "disk" in scenario:
        resource.setrlimit(resource.RLIMIT_FSIZE, (scenario["disk"], unlimited[1]))
    try:
        if trainer.start.step < config.steps:
            trainer.run()
    except UserError as caught:
        error = str(caught)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        trainer.close()
    return {"name": scenario["name"], "start": trainer.start.step, "error": error, "digest": digest(trainer.engine)}


def main() -> None:
    """Run the scenarios of the file."""
    worker.quiet()
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
    scenarios = json.loads(Path(sys.argv[1]).read_text())
    runtime.prepare(1)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}.rendezvous", rank=0, world_size=1)
    for scenario in scenarios:
        print(json.dumps(run(scenario)), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
