"""Writes the checkpoints of a run, in the foreground or beside the training, and says clearly when it cannot.

In the background, Megatron copies a GPU's state to the host and forks a process that writes it; on a CPU the fork
itself is the copy, for the two share their memory until the training changes it. Only when all ranks' writers are done
is the checkpoint digested and given its name, so a kill or a full disk leaves the one before.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from millbase.errors import StageError
from millbase.log import get_logger
from training.pretrain import checkpoint, runtime
from training.pretrain.checkpoint import RunState
from training.pretrain.run_config import CheckpointConfig

logger = get_logger(__name__)


class Saver:
    """Saves the state of a run; every method is called by all ranks together."""

    def __init__(self, engine: Any, checkpoints: Path, config: CheckpointConfig, attempt: str) -> None:
        """`attempt` names this start of the run, so that a writer that outlives a killed one is not in the way."""
        self.engine, self.checkpoints, self.config, self.attempt = engine, checkpoints, config, attempt
        self.main = dist.get_rank() == 0
        self.seconds = 0.0
        """Time that saving kept the training waiting, in all."""
        self._queue: Any = None
        self._pending: RunState | None = None
        if config.asynchronous:
            self._queue = _background()
        else:
            runtime.save_without_manager()

    def save(self, state: RunState) -> None:
        """Write the checkpoint of `state`, or begin to. StageError when it cannot be written."""
        self.finish()
        began = time.perf_counter()
        temporary = self._temporary(state.step)
        self._together(state.step, lambda: self._prepare(temporary) if self.main else None)
        if self._queue is None:
            self._together(state.step, lambda: self.engine.save(temporary))
            self._complete(state)
        else:
            request: list[Any] = []
            self._together(state.step, lambda: request.append(self.engine.save(temporary, background=True)))
            self._queue.schedule_async_request(request[0])
            self._pending = state
        self.seconds += time.perf_counter() - began

    def poll(self) -> None:
        """Complete a checkpoint whose writers are done; without one, nothing happens."""
        if self._pending is not None:
            self._collect(blocking=False)

    def finish(self) -> None:
        """Wait for the checkpoint that is being written. StageError when that failed."""
        if self._pending is not None:
            began = time.perf_counter()
            self._collect(blocking=True)
            self.seconds += time.perf_counter() - began

    def _collect(self, blocking: bool) -> None:
        state = self._pending
        assert state is not None, "nothing is being written"
        done: list[int] = []
        self._together(state.step, lambda: done.extend(self._queue.maybe_finalize_async_calls(blocking=blocking)))
        if done:
            self._pending = None
            self._complete(state)

    def _temporary(self, step: int) -> Path:
        return self.checkpoints / f".{checkpoint.step_directory(self.checkpoints, step).name}.{self.attempt}.new"

    def _prepare(self, temporary: Path) -> None:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)

    def _complete(self, state: RunState) -> None:
        """Digest a written checkpoint, every rank some of its files, and give it its name."""
        temporary = self._temporary(state.step)

        def describe() -> None:
            if self.main:
                checkpoint.check_written(temporary)
                state.write(temporary)

        self._together(state.step, describe)
        parts: list[dict[str, Any]] = [{} for _ in range(dist.get_world_size())]
        found: dict[str, Any] = {}
        share = (dist.get_rank(), dist.get_world_size())
        self._together(state.step, lambda: found.update(checkpoint.digests(temporary, *share)))
        dist.all_gather_object(parts, found)
        listed = {name: item for part in parts for name, item in sorted(part.items())}

        def name_it() -> None:
            if self.main:
                checkpoint.finish(temporary, checkpoint.step_directory(self.checkpoints, state.step), listed)
                checkpoint.prune(self.checkpoints, self.config.keep, self.config.keep_every)

        self._together(state.step, name_it)

    def _together(self, step: int, work: Any) -> None:
        """Do this rank's part; when it fails on any rank, give up on all of them and leave the checkpoints before."""
        failure = ""
        try:
            work()
        except CheckpointException as error:
            failure = "; ".join(sorted({str(wrapped[0]) for wrapped in error.failures.values()}))
        except OSError as error:
            failure = str(error)
        failed = torch.tensor(float(bool(failure)), device=torch.cuda.current_device())
        dist.all_reduce(failed)
        if not failed:
            return
        if self.main:
            shutil.rmtree(self._temporary(step), ignore_errors=True)
        last = checkpoint.complete_checkpoints(self.checkpoints, verify=False)
        kept = f"the last good checkpoint is {last[-1].name}" if last else "there is no earlier checkpoint"
        raise StageError(
            f"the checkpoint of step {step} could not be written ({failure or 'see the other ranks'}); {kept}: free "
            "disk space and run the same command again"
        )


def damage(directory: Path) -> str | None:
    """What is wrong with a checkpoint, each rank looking at some of its files; all ranks call it and hear the same."""
    found: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, checkpoint.damaged_file(directory, dist.get_rank(), dist.get_world_size()))
    return next((reason for reason in found if reason is not None), None)


def _background() -> Any:
    """Megatron's queue of writers, their results sent through a queue between processes (no manager process)."""
    import megatron.core.dist_checkpointing.strategies.filesystem_async as writer
    from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue

    writer._results_queue = multiprocessing.get_context("fork").Queue()
    return AsyncCallsQueue()
