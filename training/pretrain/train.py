"""The training loop: steps, guards, metrics, held-out loss, checkpoints, and a stop that loses nothing."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from types import FrameType

import torch
import torch.distributed as dist

from millbase.atomic import write_json
from millbase.errors import StageError
from millbase.log import get_logger
from millbase.metrics import MetricsWriter
from millbase.progress import Bar, progress
from training.pretrain import rewinding
from training.pretrain.checkpoint import RunState
from training.pretrain.config import PretrainConfig
from training.pretrain.data import HeldoutData, TrainingData
from training.pretrain.engine import Engine
from training.pretrain.guards import GO_ON, Guard, Verdict, clipped
from training.pretrain.heartbeat import Heartbeat
from training.pretrain.positions import first_sequence
from training.pretrain.saving import Saver
from training.pretrain.schedule import learning_rate
from training.pretrain.speed import Speed
from training.pretrain.stopping import STOP_FILE, STOPPED_FILE

logger = get_logger(__name__)

_DOCUMENTS_NAMED = 5


class Trainer:
    """Runs a configured number of steps from wherever the newest checkpoint stands."""

    def __init__(
        self,
        config: PretrainConfig,
        engine: Engine,
        data: TrainingData,
        heldout: Mapping[str, HeldoutData],
        start: RunState,
        saver: Saver,
        metrics: MetricsWriter | None,
        heartbeat: Heartbeat,
    ) -> None:
        """`start`: where the run stands; `heldout`: by source, `""` for the whole; `metrics`: of rank 0, else None."""
        self.config, self.engine, self.data, self.heldout = config, engine, data, heldout
        self.start, self.saver, self.metrics, self.heartbeat = start, saver, metrics, heartbeat
        self.main = dist.get_rank() == 0
        self.scratch = saver.checkpoints.parent
        self.guard = Guard(config.guard, start.guard)
        self.skips = rewinding.all_skips(config, self.scratch)
        self.speed = Speed(config, start.vocab_size)
        self._stop = ""

    def run(self) -> bool:
        """Train to the last step and save it; False when asked to stop before, with all saved.

        Raises:
            StageError: the guard stopped the run, or a checkpoint could not be written.
        """
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        if self.main:
            with progress("pretraining", total=self.config.steps - self.start.step, unit="steps") as bar:
                return self._loop(bar)
        return self._loop(None)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._stop = signal.Signals(signum).name

    def _asked_to_stop(self) -> bool:
        file = self.scratch / STOP_FILE
        if not self._stop and self.main and file.is_file():
            self._stop = file.read_text(encoding="utf-8").strip() or STOP_FILE
        return bool(self._stop)

    @staticmethod
    def _any_rank(flag: bool) -> bool:
        value = torch.tensor(float(flag), device=torch.cuda.current_device())
        dist.all_reduce(value)
        return bool(value)

    def _loop(self, bar: Bar | None) -> bool:
        step = self.start.step
        while step < self.config.steps:
            verdict, stopping = self._step(step, bar)
            if verdict.action == "stop":
                raise self._diverged(verdict.reason, step)
            if verdict.action == "rewind":
                step = self._rewind(verdict.reason, step)
                continue
            step += 1
            self.saver.poll()
            last = step == self.config.steps
            if step % self.config.evaluation.every_steps == 0 or last:
                self.heartbeat.phase(f"step {step}: evaluation")
                self.log(step, self.evaluate())
            if step % self.config.checkpoint.every_steps == 0 or last or stopping:
                self.heartbeat.phase(f"step {step}: saving")
                self._save(step)
            if stopping and not last:
                self._note_stop(step)
                return False
        self.saver.finish()
        return True

    def _note_stop(self, step: int) -> None:
        self.saver.finish()
        if self.main:
            write_json(self.scratch / STOPPED_FILE, {"step": step, "signal": self._stop or "a signal to another rank"})

    def _step(self, step: int, bar: Bar | None) -> tuple[Verdict, bool]:
        """One optimizer step: what the guard says of it, and whether some rank was asked to stop."""
        if any(step in piece for piece in self.skips):
            if bar is not None:
                bar.advance()
            return GO_ON, self._any_rank(self._asked_to_stop())
        began = time.perf_counter()
        self.heartbeat.phase(f"step {step}: reading data")
        batches = self.data.step(step, self.engine.data_rank)
        waited = time.perf_counter() - began
        self.heartbeat.phase(f"step {step}: forward and backward")
        summed = self.engine.backward(batches, step, stop=self._asked_to_stop())
        verdict, norm = self.guard.judge(summed.loss), math.nan
        if verdict is GO_ON:
            self.heartbeat.phase(f"step {step}: update")
            accept = None
            if self.guard.active:
                accept = lambda norm: self.guard.judge(summed.loss, norm) is GO_ON  # noqa: E731
            norm = self.engine.update(step, accept)
            verdict = self.guard.judge(summed.loss, norm)
        if verdict.action == "skip":
            verdict = self._dropped(verdict.reason, step)
        elif verdict is GO_ON:
            self.guard.accept(summed.loss)
        self._line(step, summed.loss, summed.tokens, norm, time.perf_counter() - began, waited)
        if bar is not None:
            bar.note(f"loss {summed.loss:.3f}")
            bar.advance()
        return verdict, summed.signal

    def _line(self, step: int, loss: float, tokens: float, norm: float, seconds: float, waited: float) -> None:
        """The metrics of a step, when it is one to log."""
        done = step + 1
        if done % self.config.log_every and done != self.config.steps and step:
            return
        sequences = first_sequence(self.config, done) - first_sequence(self.config, step)
        values = {"loss": loss, "grad_norm": norm, "learning_rate": learning_rate(self.config, step)}
        values |= self.speed.metrics(sequences * self.config.data.sequence_length, seconds)
        self.log(done, values | {"step_seconds": seconds, "data_seconds": waited})

    def _dropped(self, reason: str, step: int) -> Verdict:
        """The gradients of a step were dropped: note it, and stop when there were too many."""
        self.guard.drop(step)
        if self._actions() > self.config.guard.limit:
            return Verdict("stop", f"{reason}, and guard.limit {self.config.guard.limit} is reached")
        if self.main:
            logger.warning("step %d is skipped: %s (%s)", step, reason, self._documents(step))
        return GO_ON

    def _actions(self) -> int:
        return len(self.guard.dropped) + len(rewinding.read_rewinds(self.scratch))

    def _rewind(self, reason: str, step: int) -> int:
        """Go back to a checkpoint before the step and pass over it from then on; returns the step to go on with."""
        if self._actions() >= self.config.guard.limit:
            raise self._diverged(f"{reason}, and guard.limit {self.config.guard.limit} is reached", step)
        self.saver.finish()
        found = rewinding.rewind(self.config, self.scratch, self.saver.checkpoints, step)
        named = self._documents(step)
        self.heartbeat.phase(f"step {step}: rewinding")
        self.engine.load(found.checkpoint)
        state = RunState.read(found.checkpoint)
        self.guard = Guard(self.config.guard, state.guard)
        self.skips = rewinding.all_skips(self.config, self.scratch)
        if self.main:
            logger.warning(
                "step %d: %s (%s); back to step %d, steps %d to %d are passed over",
                step, reason, named, state.step, found.skipped.start, found.skipped.stop - 1,
            )  # fmt: skip
        if self.metrics is not None:
            self.metrics.rewind(state.step)
        return state.step

    def _documents(self, step: int) -> str:
        ids = sorted({span.id for span in self.data.documents(step)})
        more = f" and {len(ids) - _DOCUMENTS_NAMED} more" if len(ids) > _DOCUMENTS_NAMED else ""
        return f"documents {', '.join(ids[:_DOCUMENTS_NAMED])}{more}"

    def _diverged(self, reason: str, step: int) -> StageError:
        return StageError(
            f"{reason} at step {step} ({self._documents(step)}; all: llmill tokens show CONFIG --step {step}); lower "
            f"optimizer.learning_rate, lengthen schedule.warmup_steps, pass over the data with skip_steps "
            f"'{step}:{step + 1}', or set guard"
        )

    def evaluate(self) -> dict[str, float]:
        """Held-out loss in nats a token, and bits a byte of text: sum of nll / ln 2 / UTF-8 bytes; by source too."""
        values: dict[str, float] = {}
        for name, heldout in self.heldout.items():
            summed = self.engine.evaluate(heldout.batches(self.engine.data_rank), heldout.micro_batches)
            end = f"/{name}" if name else ""
            values[f"val_loss{end}"] = summed.loss
            if self.config.model.masked_lm is None:  # which predicts only the tokens that are hidden
                values[f"bits_per_byte{end}"] = summed.nll / math.log(2) / heldout.bytes
        return values

    def close(self) -> None:
        """End the reading thread and the files of metrics."""
        self.data.close()
        if self.metrics is not None:
            self.metrics.close()

    def log(self, step: int, values: dict[str, float]) -> None:
        """A line of metrics, on rank 0."""
        if self.metrics is not None:
            self.metrics.log(step, values)

    def _save(self, step: int) -> None:
        """Save the state after `step` steps."""
        sequences = first_sequence(self.config, step)
        self.saver.save(
            replace(
                self.start,
                step=step,
                sequences=sequences,
                order=self.data.order.past(sequences),
                passed_over=clipped(self.skips, step),
                guard=self.guard.state(),
            )
        )
