"""Start a pretraining run on this machine and gather what it made into a `checkpoint` artifact."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from millbase.artifacts import create_artifact
from millbase.atomic import write_json
from millbase.errors import Interrupted
from millbase.launch import torchrun
from training.launch.slurm import inside_job, submit
from training.launch.start import join, nodes_of, ranks_per_node, run_file_of
from training.load import tokenizer_digest
from training.pretrain.checkpoint import step_directory
from training.pretrain.checks import check_machine, check_steps, check_tokens
from training.pretrain.config import PretrainConfig
from training.pretrain.continuation import CHECKPOINTS, RUN_FILE, bring_back, find_start, set_aside
from training.pretrain.positions import tokens_before
from training.pretrain.stopping import STOP_FILE, STOPPED_FILE

WORKER = "training.pretrain.worker"
"""The module that each rank runs."""


def pretrain(config: PretrainConfig, out: str | Path) -> Path:
    """Pretrain as `config` says and write the `checkpoint` artifact `out`.

    It holds `megatron/` (distributed checkpoint with optimizer state), `hf/` (model and tokenizer), `metrics.jsonl` and
    `tensorboard/`. After an interruption the same call continues, with the same losses as if it had never stopped.

    Raises:
        ArtifactError: an input is missing, damaged or of another kind.
        InputError: the tokens do not suit the configuration.
        StageError: a rank failed, the loss diverged, or an unfinished run stands in the way.
        Submitted: the run was handed to Slurm and goes on there (`launcher.wait: false`).
        Interrupted: SIGTERM or SIGUSR1 came; all is saved, and the same call continues.
    """
    out = Path(out)
    launcher, world_size = config.launcher, config.parallel.world_size
    here, threads = ranks_per_node(launcher, world_size), config.parallel.threads
    if launcher.kind == "slurm" and not inside_job():
        return submit(config, launcher, out, here, threads)
    env = {"OMP_NUM_THREADS": str(threads)}
    if launcher.node_rank:
        join(launcher, world_size, WORKER, run_file_of(out, RUN_FILE), env)
        return out
    manifests = check_tokens(config)
    tokens = manifests[0]
    check_machine(config, int(tokens.stats["vocab_size"]))
    start, config = find_start(config, tokens)
    check_steps(config)
    digests = [manifest.digest for manifest in manifests]
    set_aside(config, tokens, out, digests)
    inputs = {
        **dict(zip(_input_names(), manifests, strict=False)),  # which `check_tokens` has verified
        "resume_from": config.checkpoint.resume_from,
        "weights_from": config.checkpoint.weights_from,
    }
    with create_artifact(out, kind="checkpoint", config=config, inputs=inputs, seed=config.seed) as art:
        bring_back(art, out)
        run_file = art.scratch / RUN_FILE
        description = {
            "config": config.to_dict(),
            "work": str(art.path.resolve()),
            "resume_from": None if start is None else str(start.resolve()),
            "trajectory": config.trajectory(),
            "dataset_digest": tokens.digest,
            "digests": digests,
            # of this start: names what it writes, so that nothing an earlier one left behind is taken for its own
            "attempt": secrets.token_hex(4),
        }
        write_json(run_file, description)
        for leftover in (STOP_FILE, STOPPED_FILE):
            (art.scratch / leftover).unlink(missing_ok=True)
        shutil.rmtree(art.scratch / "logs", ignore_errors=True)
        shutil.rmtree(art.scratch / "heartbeats", ignore_errors=True)
        with _signals_save(art.scratch / STOP_FILE):
            torchrun(
                WORKER,
                nproc=here,
                args=[str(run_file.resolve())],
                log_dir=art.scratch / "logs",
                env=env,
                nodes=nodes_of(launcher),
            )
        if (art.scratch / STOPPED_FILE).is_file():
            stopped = json.loads((art.scratch / STOPPED_FILE).read_text(encoding="utf-8"))
            raise Interrupted(
                f"stopped by {stopped['signal']}; saved at step {stopped['step']} of {config.steps}, run the same "
                "command again to continue"
            )
        result = json.loads((art.scratch / "result.json").read_text(encoding="utf-8"))
        final = step_directory(art.scratch / CHECKPOINTS, config.steps)
        shutil.rmtree(art.path / "megatron", ignore_errors=True)
        # Links: nothing is copied, and the run's own checkpoint stays whole until the artifact is finished.
        shutil.copytree(final, art.path / "megatron", copy_function=os.link)
        art.stats.update(
            stage="pretrain",
            steps=config.steps,
            tokens=tokens_before(config, config.steps),
            tokenizer_digest=tokenizer_digest(Path(config.data.tokens) / "tokenizer"),
            vocab_size=tokens.stats["vocab_size"],
            dataset_digest=tokens.digest,
            **result,
        )
    return out


def _input_names() -> Iterator[str]:
    """Names of the tokens artifacts among the inputs."""
    yield "tokens"
    yield from (f"tokens_{number}" for number in itertools.count(1))


@contextmanager
def _signals_save(stop: Path) -> Iterator[None]:
    """Let the first SIGTERM or SIGUSR1 ask the ranks to save and end, and a second SIGTERM end them.

    The ranks look for the file `stop` at each step. They are not sent the signal, for torchrun would give them half a
    minute. Only the main thread can do this; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.exists() and signum == signal.SIGTERM:
            raise SystemExit(128 + signum)
        stop.write_text(signal.Signals(signum).name, encoding="utf-8")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
