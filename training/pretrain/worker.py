"""One rank of a pretraining run; `training.pretrain.pretrain` starts it under torchrun.

torchrun --nproc-per-node 2 -m training.pretrain.worker WORK/scratch/run.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from millbase.artifacts import open_artifact
from millbase.atomic import write_json
from millbase.config import load_config
from millbase.errors import StageError, UserError
from millbase.log import get_logger
from millbase.metrics import MetricsWriter
from millbase.process import die_with_parent, keep_freed_memory
from training.load import tokenizer_digest
from training.pretrain import runtime
from training.pretrain.checkpoint import RunState, check_safe, latest_checkpoint, step_directory
from training.pretrain.config import PretrainConfig

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
    """The whole run on this rank. `run.json`: `{"config", "work", "resume_from"}`."""
    description = json.loads(run_file.read_text(encoding="utf-8"))
    config = load_config(PretrainConfig, description["config"])
    runtime.prepare(config.parallel.threads)
    connect(config)
    # Megatron is imported only once the runtime is prepared.
    from training.pretrain.data import HeldoutData, TrainingData
    from training.pretrain.engine import Engine
    from training.pretrain.model import initialize_layout
    from training.pretrain.train import Trainer
    from training.pretrain.weights import initial_weights

    initialize_layout(config)
    tokens = open_artifact(config.data.tokens, kind="tokens", verify=False)
    work = Path(description["work"])
    checkpoints = work / "scratch" / "checkpoints"
    data = TrainingData(config, tokens.digest)
    heldout = HeldoutData(config, end_of_document=int(data.order.shards.tokens(0)[-1]))
    state = RunState(
        step=0,
        identity=config.identity(),
        dataset_digest=tokens.digest,
        tokenizer_digest=tokenizer_digest(Path(config.data.tokens) / "tokenizer"),
        vocab_size=int(tokens.stats["vocab_size"]),
    )
    engine = Engine(config, state.vocab_size, initial_weights(config.model, config.seed))
    state = resume(engine, checkpoints, description["resume_from"], state)
    metrics = MetricsWriter(work, resume_step=state.step or None) if dist.get_rank() == 0 else None
    trainer = Trainer(config, engine, data, heldout, state, checkpoints, metrics)
    if state.step < config.steps:
        trainer.run()
    scores = trainer.evaluate()
    if metrics is not None:
        metrics.close()
    difference = export(engine, config, state.vocab_size, heldout, step_directory(checkpoints, config.steps), work)
    if dist.get_rank() == 0:
        result = {**scores, "export_max_logit_difference": difference, "parameters": parameters(work / "hf")}
        write_json(run_file.parent / "result.json", result)


def connect(config: PretrainConfig) -> None:
    """Join the other ranks, over NCCL with GPUs and gloo without. StageError when there are too few GPUs."""
    minutes = timedelta(minutes=30)
    if not torch.cuda.is_available():
        dist.init_process_group("gloo", timeout=minutes)
        return
    local, ranks = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if ranks > torch.cuda.device_count():
        raise StageError(
            f"parallel asks for {ranks} ranks and this machine has {torch.cuda.device_count()} GPUs; "
            "lower parallel.tensor, pipeline or data"
        )
    torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl", timeout=minutes)


def resume(engine: Any, checkpoints: Path, resume_from: str | None, state: RunState) -> RunState:
    """Load the newest checkpoint of this run, else the one to continue from, else stay at the start."""
    newest = latest_checkpoint(checkpoints)
    source = newest or (Path(resume_from) if resume_from else None)
    if source is None:
        return state
    check_safe(source)
    loaded = RunState.read(source)
    engine.load(source)
    if dist.get_rank() == 0:
        logger.info("continuing from step %d (%s)", loaded.step, source)
    return loaded


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
