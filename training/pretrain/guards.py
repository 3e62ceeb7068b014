"""Judges each step's loss and gradient norm: go on, drop the step, rewind, or stop. The same on every rank.

What it decides is a function of the losses alone, and its window is saved with the checkpoint: a resumed run decides as
the uninterrupted one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from training.pretrain.run_config import GuardConfig

Action = Literal["go on", "stop", "skip", "rewind"]


@dataclass(frozen=True)
class Verdict:
    """What to do with a step, and why."""

    action: Action
    reason: str = ""


GO_ON = Verdict("go on")


def robust_z(value: float, window: Sequence[float]) -> float:
    """(value - median) / (1.4826 MAD) of the window: 1.4826 makes the MAD of a normal distribution its deviation.

    Infinite for a value that differs from a window without any spread.
    """
    middle = statistics.median(window)
    spread = 1.4826 * statistics.median(abs(x - middle) for x in window)
    if spread == 0:
        return 0.0 if value == middle else math.copysign(math.inf, value - middle)
    return (value - middle) / spread


class Guard:
    """Watches the losses of a run."""

    def __init__(self, config: GuardConfig, state: dict[str, Any] | None = None) -> None:
        """`state`: from `state()` of the run that is continued."""
        self.config = config
        self.losses: list[float] = list((state or {}).get("losses", []))[-config.window :]
        self.dropped: list[int] = list((state or {}).get("dropped", []))
        """Steps whose gradients were dropped."""

    @property
    def active(self) -> bool:
        """True when a step may be dropped before its update."""
        return (self.config.not_finite, self.config.spike) != ("stop", "off")

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"losses": self.losses, "dropped": self.dropped}

    def judge(self, loss: float, norm: float | None = None) -> Verdict:
        """The verdict on a step with this loss (nats a token) and, once it is known, gradient norm."""
        for what, value in (("loss", loss), ("gradient norm", norm)):
            if value is not None and not math.isfinite(value):
                return Verdict(self.config.not_finite, f"the {what} is {value}")
        if self.config.spike != "off" and len(self.losses) * 2 >= self.config.window:
            middle = statistics.median(self.losses)
            z = robust_z(loss, self.losses)
            if z > self.config.spike_threshold and loss - middle > self.config.spike_minimum:
                reason = f"the loss {loss:.4f} is a spike (median {middle:.4f}, robust z {z:.1f})"
                return Verdict(self.config.spike, reason)
        return GO_ON

    def accept(self, loss: float) -> None:
        """Take the loss of a step that was trained on into the window."""
        self.losses = [*self.losses, loss][-self.config.window :]

    def drop(self, step: int) -> None:
        """Note a step whose gradients were dropped."""
        self.dropped.append(step)


def clipped(ranges: Iterable[range], before: int) -> list[list[int]]:
    """The steps of `ranges` below `before`, as sorted, disjoint, non-adjacent `[[first, after], ...]`."""
    found: list[list[int]] = []
    for piece in sorted(ranges, key=lambda r: (r.start, r.stop)):
        first, after = piece.start, min(piece.stop, before)
        if first >= after:
            continue
        if found and first <= found[-1][1]:
            found[-1][1] = max(found[-1][1], after)
        else:
            found.append([first, after])
    return found
