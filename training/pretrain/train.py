"""The training loop: steps, metrics, held-out loss, checkpoints, and a stop that loses nothing."""

from __future__ import annotations

import math
import shutil
import signal
import time
from pathlib import Path
from types import FrameType

import torch.distributed as dist

from millbase.errors import StageError
from millbase.log import get_logger
from millbase.metrics import MetricsWriter
from millbase.progress import Bar, progress
from training.pretrain import checkpoint
from training.pretrain.checkpoint import RunState
from training.pretrain.config import PretrainConfig
from training.pretrain.data import HeldoutData, TrainingData
from training.pretrain.engine import Engine
from training.pretrain.schedule import learning_rate

logger = get_logger(__name__)

_DOCUMENTS_NAMED = 5


class Trainer:
    """Runs a configured number of steps from wherever the newest checkpoint stands."""

    def __init__(
        self,
        config: PretrainConfig,
        engine: Engine,
        data: TrainingData,
        heldout: HeldoutData,
        start: RunState,
        checkpoints: Path,
        metrics: MetricsWriter | None,
    ) -> None:
        """`start`: where the run stands; `metrics`: where rank 0 logs, None on the others."""
        self.config, self.engine, self.data, self.heldout = config, engine, data, heldout
        self.start, self.checkpoints, self.metrics = start, checkpoints, metrics
        self.main = dist.get_rank() == 0
        self._stop = False

    def run(self) -> None:
        """Train to the last step and save it.

        Raises:
            StageError: the loss or the gradient is not finite, or SIGTERM asked to stop (all is saved by then).
        """
        signal.signal(signal.SIGTERM, self._on_sigterm)
        todo = self.config.steps - self.start.step
        if self.main:
            with progress("pretraining", total=todo, unit="steps") as bar:
                self._loop(bar)
        else:
            self._loop(None)

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        self._stop = True

    def _loop(self, bar: Bar | None) -> None:
        for step in range(self.start.step, self.config.steps):
            done = step + 1
            stopping = self._step(step, bar)
            if done % self.config.evaluation.every_steps == 0 or done == self.config.steps:
                self.log(done, self.evaluate())
            if done % self.config.checkpoint.every_steps == 0 or done == self.config.steps or stopping:
                self.save(done)
            if stopping and done < self.config.steps:
                raise StageError(f"stopped by SIGTERM; saved at step {done}, run the same command again to continue")

    def _step(self, step: int, bar: Bar | None) -> bool:
        """One optimizer step; True when some rank was asked to stop."""
        began = time.perf_counter()
        summed = self.engine.backward(self.data.step(step, self.engine.data_rank), stop=self._stop)
        if not math.isfinite(summed.loss):
            raise self._diverged("loss", summed.loss, step)
        norm = self.engine.update(step)
        if not math.isfinite(norm):
            raise self._diverged("gradient norm", norm, step)
        seconds = time.perf_counter() - began
        done = step + 1
        if done % self.config.log_every == 0 or done == self.config.steps or step == 0:
            tokens = self.config.global_batch_size * self.config.data.sequence_length
            self.log(
                done,
                {
                    "loss": summed.loss,
                    "grad_norm": norm,
                    "learning_rate": learning_rate(self.config, step),
                    "tokens_per_second": tokens / seconds,
                    "step_seconds": seconds,
                },
            )
        if bar is not None:
            bar.note(f"loss {summed.loss:.3f}")
            bar.advance()
        return summed.signal

    def _diverged(self, what: str, value: float, step: int) -> StageError:
        ids = sorted({span.id for span in self.data.documents(step)})
        more = f" and {len(ids) - _DOCUMENTS_NAMED} more" if len(ids) > _DOCUMENTS_NAMED else ""
        return StageError(
            f"the {what} is {value} at step {step + 1} (documents {', '.join(ids[:_DOCUMENTS_NAMED])}{more}); "
            "lower optimizer.learning_rate, lengthen schedule.warmup_steps or look at those documents"
        )

    def evaluate(self) -> dict[str, float]:
        """Held-out loss in nats a token, and bits a byte of text: sum of nll / ln 2 / UTF-8 bytes."""
        heldout = self.heldout
        summed = self.engine.evaluate(heldout.batches(self.engine.data_rank), heldout.micro_batches)
        return {"val_loss": summed.loss, "bits_per_byte": summed.nll / math.log(2) / heldout.bytes}

    def log(self, step: int, values: dict[str, float]) -> None:
        """A line of metrics, on rank 0."""
        if self.metrics is not None:
            self.metrics.log(step, values)

    def save(self, step: int) -> None:
        """Write the checkpoint of `step` steps done, atomically; then delete old ones."""
        final = checkpoint.step_directory(self.checkpoints, step)
        temporary = final.parent / f".{final.name}.new"
        if self.main:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        dist.barrier()
        self.engine.save(temporary)
        if self.main:
            state = RunState(
                step=step,
                identity=self.start.identity,
                dataset_digest=self.start.dataset_digest,
                tokenizer_digest=self.start.tokenizer_digest,
                vocab_size=self.start.vocab_size,
            )
            state.write(temporary)
            checkpoint.finish(temporary, final)
            checkpoint.prune(self.checkpoints, self.config.checkpoint.keep)
        dist.barrier()
