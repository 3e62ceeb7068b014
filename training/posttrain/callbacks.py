"""What happens beside the training steps: metrics under our names, the progress bar, and marks on whole checkpoints."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from millbase.atomic import atomic_write
from millbase.errors import StageError
from millbase.log import get_logger
from millbase.metrics import MetricsWriter
from millbase.progress import Bar

logger = get_logger(__name__)

NAMES = {
    "mean_token_accuracy": "token_accuracy",
    "mean_reward": "reward",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "logps/chosen": "logprob_chosen",
    "logps/rejected": "logprob_rejected",
    "logits/chosen": None,
    "logits/rejected": None,
    # counters that start again with every process: rates are made of them here
    "num_tokens": None,
    "epoch": None,
    "total_flos": None,
    "runtime": None,
    "samples_per_second": None,
    "steps_per_second": None,
}
"""The trainers' names of metrics to ours; None leaves one out."""

_WHOLE = "whole"
_PREFIX = "checkpoint-"


def rename(logs: dict[str, Any]) -> dict[str, float]:
    """Metrics under our names; those of a validation begin with `val_` instead of `eval_`."""
    renamed: dict[str, float] = {}
    for name, value in logs.items():
        prefix, plain = ("val_", name.removeprefix("eval_")) if name.startswith("eval_") else ("", name)
        ours = NAMES.get(plain, plain)
        if ours is not None and isinstance(value, (int, float)):
            renamed[prefix + ours] = float(value)
    return renamed


class MetricsCallback(TrainerCallback):
    """Sends what the trainer logs to the MetricsWriter and the bar, and stops a run whose loss is not a number."""

    def __init__(self, writer: MetricsWriter, bar: Bar, rows: int, batch_size: int) -> None:
        self.writer, self.bar, self.rows, self.batch_size = writer, bar, rows, batch_size
        self.last: dict[str, float] = {}
        """The latest value of every metric."""
        self._seconds = self._started = 0.0
        self._tokens = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.advance(state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._seconds += time.perf_counter() - self._started
        self.bar.advance()
        if state.global_step >= state.max_steps:
            control.should_log = True
            control.should_evaluate = args.eval_strategy != "no"

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "train_runtime" in logs:  # the trainer's closing summary
            return
        values = rename(logs)
        if "loss" in values:
            values["epoch"] = state.global_step * self.batch_size / self.rows
            self._add_rate(logs, values)
            self.bar.note(f"loss {values['loss']:.4f}")
        self.last.update(values)
        self.writer.log(state.global_step, values)
        for name in ("loss", "val_loss"):
            if not math.isfinite(values.get(name, 0.0)):
                raise StageError(
                    f"{name} is {values[name]} at step {state.global_step}: training diverged; lower learning_rate "
                    f"(now {args.learning_rate:g}) or max_grad_norm (now {args.max_grad_norm:g}), or raise warmup_share"
                )

    def _add_rate(self, logs: dict[str, Any], values: dict[str, float]) -> None:
        tokens = float(logs.get("num_tokens", 0.0))
        if self._seconds > 0 and tokens > self._tokens:
            values["tokens_per_second"] = (tokens - self._tokens) / self._seconds
        self._tokens, self._seconds = tokens, 0.0


class ChosenDrop(TrainerCallback):
    """Says when preference training makes the chosen answers less likely than the reference does.

    A margin can grow while both answers' probabilities fall, the mass going to texts that nobody compared (Razin et al.
    2024; Pal et al. 2024). From the logged implicit reward: `reward / beta` is the mean log-ratio to the reference.
    """

    def __init__(self, beta: float, share: float, policy: str, validated: bool) -> None:
        self.beta, self.share, self.policy = beta, share, policy
        self.prefix = "eval_" if validated else ""
        self.worst = 0.0
        self.first_step: int | None = None

    def summary(self) -> dict[str, Any]:
        """For the manifest: the worst change of the chosen answers' log-probability, as a share, and the first
        alarm."""
        return {"worst": float(f"{self.worst:.4g}"), "limit": -self.share, "first_step": self.first_step}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        reward = (logs or {}).get(f"{self.prefix}rewards/chosen")
        logprob = (logs or {}).get(f"{self.prefix}logps/chosen")
        if logs is None or reward is None or logprob is None:
            return
        ratio = reward / self.beta
        change = ratio / max(abs(logprob - ratio), 1e-6)
        self.worst = min(self.worst, change)
        if change >= -self.share or (self.first_step is not None and self.policy == "warn"):
            return
        self.first_step = state.global_step
        message = (
            f"the chosen answers have become less likely than under the reference: {logprob:.1f} nats against "
            f"{logprob - ratio:.1f} at step {state.global_step}, more than chosen_drop = {self.share:g} of it; "
            "set sft_weight (0.2 is usual), raise beta or lower learning_rate"
        )
        if self.policy == "stop":
            raise StageError(message)
        logger.warning("%s", message)


class WholeCheckpoints(TrainerCallback):
    """Marks a checkpoint once all of its files are written; one that was being saved at a kill has no mark."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if args.world_size > 1:
            torch.distributed.barrier()  # every process has written its part
        if state.is_world_process_zero:
            with atomic_write(Path(args.output_dir) / f"{_PREFIX}{state.global_step}" / _WHOLE) as file:
                file.write("")


def last_whole_checkpoint(directory: Path) -> tuple[Path, int] | None:
    """(folder, step) of the newest marked checkpoint; unmarked ones are removed."""
    whole: dict[int, Path] = {}
    for folder in directory.glob(f"{_PREFIX}*"):
        if (folder / _WHOLE).is_file():
            whole[int(folder.name.removeprefix(_PREFIX))] = folder
        else:
            shutil.rmtree(folder)
    if not whole:
        return None
    step = max(whole)
    return whole[step], step
