"""One rank of a pretraining run; `training.pretrain.pretrain` starts it under torchrun.

torchrun --nproc-per-node 2 -m training.pretrain.worker WORK/scratch/run.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from millbase.artifacts import open_artifact
from millbase.atomic import write_json
from millbase.config import load_config
from millbase.errors import InputError, StageError, UserError
from millbase.log import get_logger
from millbase.metrics import MetricsWriter
from millbase.process import die_with_parent, keep_freed_memory
from training.load import tokenizer_digest
from training.pretrain import runtime
from training.pretrain.checkpoint import RunState, check_safe, delete_after, latest_checkpoint, step_directory
from training.pretrain.config import PretrainConfig
from training.pretrain.heartbeat import Heartbeat
from training.pretrain.rewinding import all_skips, usable

logger = get_logger(__name__)

LOGIT_TOLERANCE = 1e-4
"""Largest difference allowed between the exported model's and Megatron's logits, in float32."""


def main() -> None:
    """Train, export, and leave `result.json` beside the run file."""
    die_with_parent()
    keep_freed_memory()
    quiet()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="run.json written by training.pretrain.pretrain")
    run_file = Path(parser.parse_args().run)
    try:
        run(run_file)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        # Other ranks may be waiting for this one in a collective: leave without saying goodbye to them.
        os._exit(2)
    dist.barrier()
    dist.destroy_process_group()


def quiet() -> None:
    """Silence what Megatron and torch say about packages we do without on purpose, and about each other's APIs."""
    warnings.filterwarnings("ignore", message=".*(Transformer Engine|Apex).*", category=UserWarning)
    warnings.filterwarnings("ignore", module=r"megatron\.|torch\.distributed\.|torch\.autograd", category=Warning)


def run(run_file: Path) -> None:
    """The whole run on this rank. `run.json`: `{"config", "work", "resume_from", "attempt"}`."""
    description = json.loads(run_file.read_text(encoding="utf-8"))
    config = load_config(PretrainConfig, description["config"])
    runtime.prepare(config.parallel.threads)
    connect(config)
    work, scratch, attempt = Path(description["work"]), run_file.parent, str(description["attempt"])
    heartbeat = Heartbeat(
        scratch / "heartbeats" / attempt, dist.get_rank(), dist.get_world_size(), config.guard.hang_minutes
    )
    heartbeat.start()
    trainer = assemble(config, work, attempt, description["resume_from"], heartbeat)
    finished = trainer.run() if trainer.start.step < config.steps else True
    if finished:
        heartbeat.phase("last evaluation")
        scores = trainer.evaluate()
        # One rank writes for as long as the model takes, and the others wait: no hang.
        heartbeat.stop()
        final, vocab_size = step_directory(trainer.saver.checkpoints, config.steps), trainer.start.vocab_size
        difference = export(trainer.engine, config, vocab_size, trainer.heldout[""], final, work)
        if dist.get_rank() == 0:
            result = {**scores, "export_max_logit_difference": difference, "parameters": parameters(work / "hf")}
            write_json(scratch / "result.json", result)
    trainer.close()
    heartbeat.stop()


def assemble(config: PretrainConfig, work: Path, attempt: str, resume_from: str | None, heartbeat: Heartbeat) -> Any:
    """The Trainer of this rank, standing where the newest checkpoint under `work`, or the one to continue from, stands.

    torch.distributed must be connected and the runtime prepared.
    """
    # Megatron is imported only once the runtime is prepared.
    from training.pretrain.data import HeldoutData, TrainingData
    from training.pretrain.engine import Engine
    from training.pretrain.model import initialize_layout
    from training.pretrain.saving import Saver
    from training.pretrain.train import Trainer
    from training.pretrain.weights import starting_weights

    heartbeat.phase("building the model")
    initialize_layout(config)
    tokens = open_artifact(config.data.tokens, kind="tokens", verify=False)
    checkpoints = work / "scratch" / "checkpoints"
    data = TrainingData(config, tokens.digest)
    end = int(next(iter(data.order.sources.values())).order.shards.tokens(0)[-1])
    heldout = {"": HeldoutData(config, end)} | by_source(config, end)
    state = RunState(
        step=0,
        identity=config.identity(),
        dataset_digest=tokens.digest,
        tokenizer_digest=tokenizer_digest(Path(config.data.tokens) / "tokenizer"),
        vocab_size=int(tokens.stats["vocab_size"]),
        stage=config.stage(),
        history=[past.to_dict() for past in config.data.history],
    )
    engine = Engine(config, state.vocab_size, starting_weights(config, state.vocab_size))
    heartbeat.phase("loading a checkpoint")
    state = resume(engine, config, data.order, checkpoints, resume_from, state)
    metrics = MetricsWriter(work, resume_step=state.step or None) if dist.get_rank() == 0 else None
    saver = Saver(engine, checkpoints, config.checkpoint, attempt)
    return Trainer(config, engine, data, heldout, state, saver, metrics, heartbeat)


def by_source(config: PretrainConfig, end_of_document: int) -> dict[str, Any]:
    """The held-out data of each source of a mixture, by name; a source without any is named in a warning."""
    from training.pretrain.data import HeldoutData

    found = {}
    for source in config.data.sources if config.evaluation.by_source else []:
        try:
            found[source.name] = HeldoutData(config, end_of_document, source)
        except InputError as error:
            if dist.get_rank() == 0:
                logger.warning("no val_loss/%s: %s", source.name, error)
    return found


def connect(config: PretrainConfig) -> None:
    """Join the other ranks, over NCCL with GPUs and gloo without. StageError when there are too few GPUs."""
    from training.pretrain.hardware import check_hardware

    check_hardware(config)
    # The heartbeat finds a rank that hangs and says which; this is for what it cannot see.
    limit = timedelta(minutes=max(30.0, 2 * config.guard.hang_minutes))
    if not torch.cuda.is_available():
        dist.init_process_group("gloo", timeout=limit)
        return
    local, ranks = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if ranks > torch.cuda.device_count():
        raise StageError(
            f"parallel asks for {ranks} ranks and this machine has {torch.cuda.device_count()} GPUs; "
            "lower parallel.tensor, pipeline or data"
        )
    torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl", timeout=limit)


def resume(
    engine: Any, config: PretrainConfig, order: Any, checkpoints: Path, resume_from: str | None, state: RunState
) -> RunState:
    """Load the newest checkpoint that fits this run, else the one to continue from, else stay at the start."""
    from training.pretrain.saving import damage

    skips = all_skips(config, checkpoints.parent)
    newest = latest_checkpoint(checkpoints, lambda directory: usable(directory, skips, order), damage)
    source = newest or (Path(resume_from) if resume_from else None)
    if source is None:
        return state
    check_safe(source)
    loaded = RunState.read(source)
    engine.load(source)
    dist.barrier()
    if dist.get_rank() == 0:
        if newest is not None:
            delete_after(checkpoints, loaded.step)
        logger.info("continuing from step %d (%s)", loaded.step, source)
    return replace(
        loaded, identity=state.identity, stage=state.stage, history=state.history, dataset_digest=state.dataset_digest
    )


def export(engine: Any, config: PretrainConfig, vocab_size: int, heldout: Any, checkpoint: Path, work: Path) -> float:
    """Write `hf/` and compare its logits with the running model's on a held-out batch; all ranks together.

    Returns the largest difference. StageError when it is over the tolerance (float32).
    """
    batch = next(heldout.batches(0))
    expected = engine.logits(batch, vocab_size)
    difference = torch.zeros((), dtype=torch.float64)
    if dist.get_rank() == 0:
        from training.pretrain.export import export_hf

        tokenizer = Path(config.data.tokens) / "tokenizer"
        model = export_hf(checkpoint, work / "hf", config, vocab_size, tokenizer, heldout.end_of_document)
        with torch.inference_mode():
            actual = model(input_ids=batch.tokens, attention_mask=_additive(batch.attention_mask)).logits
        difference = (actual.float() - expected.cpu()).abs().max().double()
    difference = difference.to(torch.cuda.current_device())
    dist.broadcast(difference, 0)
    worst = float(difference)
    if config.dtype == "float32" and not worst <= LOGIT_TOLERANCE:
        raise StageError(
            f"the exported model's logits differ from Megatron's by {worst:.2e}, more than {LOGIT_TOLERANCE:g}; "
            "the export is wrong for this model configuration, please report it"
        )
    return worst


def _additive(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Megatron's mask (true = hidden) as the additive one transformers takes."""
    return None if mask is None else torch.zeros(mask.shape).masked_fill(mask, torch.finfo(torch.float32).min)


def parameters(folder: Path) -> int:
    """Number of weights in a Hugging Face folder (a tied output counts once)."""
    from safetensors import safe_open

    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                total += int(torch.Size(tensors.get_slice(name).get_shape()).numel())
    return total


if __name__ == "__main__":
    main()
