"""Start a pretraining run on this machine and gather what it made into a `checkpoint` artifact."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from millbase.artifacts import create_artifact
from millbase.atomic import write_json
from millbase.launch import torchrun
from training.load import tokenizer_digest
from training.pretrain.checkpoint import step_directory
from training.pretrain.checks import check_machine, check_tokens
from training.pretrain.config import PretrainConfig
from training.pretrain.continuation import CHECKPOINTS, RUN_FILE, bring_back, find_start, set_aside


def pretrain(config: PretrainConfig, out: str | Path) -> Path:
    """Pretrain as `config` says and write the `checkpoint` artifact `out`.

    It holds `megatron/` (distributed checkpoint with optimizer state), `hf/` (model and tokenizer), `metrics.jsonl` and
    `tensorboard/`. After an interruption the same call continues, with the same losses as if it had never stopped.

    Raises:
        ArtifactError: an input is missing, damaged or of another kind.
        InputError: the tokens do not suit the configuration.
        StageError: a rank failed, the loss diverged, or an unfinished run stands in the way.
    """
    out = Path(out)
    tokens = check_tokens(config)
    check_machine(config)
    start = find_start(config, tokens)
    set_aside(config, tokens, out)
    inputs = {"tokens": config.data.tokens, "resume_from": config.checkpoint.resume_from}
    with create_artifact(out, kind="checkpoint", config=config, inputs=inputs, seed=config.seed) as art:
        bring_back(art, out)
        run_file = art.scratch / RUN_FILE
        description = {
            "config": config.to_dict(),
            "work": str(art.path.resolve()),
            "resume_from": None if start is None else str(start.resolve()),
            "trajectory": config.trajectory(),
            "dataset_digest": tokens.digest,
        }
        write_json(run_file, description)
        with _terminate_as_interrupt():
            torchrun(
                "training.pretrain.worker",
                nproc=config.parallel.world_size,
                args=[str(run_file.resolve())],
                log_dir=art.scratch / "logs",
                env={"OMP_NUM_THREADS": str(config.parallel.threads)},
            )
        result = json.loads((art.scratch / "result.json").read_text(encoding="utf-8"))
        final = step_directory(art.scratch / CHECKPOINTS, config.steps)
        shutil.rmtree(art.path / "megatron", ignore_errors=True)
        # Links: nothing is copied, and the run's own checkpoint stays whole until the artifact is finished.
        shutil.copytree(final, art.path / "megatron", copy_function=os.link)
        art.stats.update(
            stage="pretrain",
            steps=config.steps,
            tokens=config.steps * config.global_batch_size * config.data.sequence_length,
            tokenizer_digest=tokenizer_digest(Path(config.data.tokens) / "tokenizer"),
            vocab_size=tokens.stats["vocab_size"],
            dataset_digest=tokens.digest,
            **result,
        )
    return out


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the launcher, which passes it on to the ranks so that they save; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
