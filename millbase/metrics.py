"""Metrics of a run: one JSON line per step, TensorBoard event files always, Weights & Biases when configured."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millbase.atomic import atomic_write
from millbase.errors import ConfigError

STEP = "step"
"""The horizontal axis of every curve."""


class MetricsWriter:
    """Writes ``metrics.jsonl`` and ``tensorboard/`` under a directory.

    ``resume_step``: after a crash, lines of later steps are dropped first, because the resumed run will
    write them again; TensorBoard is told to purge them too.
    Weights & Biases is used when ``WANDB_PROJECT`` is set and the ``wandb`` package is installed; a run that was
    interrupted goes on as the same run there (its name is kept in ``wandb_id``).
    """

    def __init__(self, directory: str | Path, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "metrics.jsonl"
        if resume_step is None:
            self.path.unlink(missing_ok=True)
        else:
            self._drop_after(resume_step)
        self._file = open(self.path, "a", encoding="utf-8")
        purge = None if resume_step is None else resume_step + 1
        self._events = SummaryWriter(str(directory / "tensorboard"), purge_step=purge)
        self._wandb = _wandb_run(directory)

    def _drop_after(self, step: int) -> None:
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        with atomic_write(self.path) as file:
            file.writelines(json.dumps(line) + "\n" for line in kept)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record ``values`` (plain numbers) at ``step``; NaN and infinities are stored as null."""
        numbers = {name: float(value) for name, value in values.items()}
        finite: dict[str, Any] = {name: value if abs(value) < float("inf") else None for name, value in numbers.items()}
        self._file.write(json.dumps({"step": step, "time": round(time.time(), 3), **finite}) + "\n")
        self._file.flush()
        for name, value in numbers.items():
            self._events.add_scalar(name, value, step)
        if self._wandb is not None:
            # Not as its own step, which may not go back: after a rewind ours does.
            self._wandb.log({**numbers, STEP: step})

    def rewind(self, step: int) -> None:
        """The run went back to ``step``: lines of later steps are dropped, for they will be written again."""
        from torch.utils.tensorboard import SummaryWriter

        self._file.close()
        self._events.close()
        self._drop_after(step)
        self._file = open(self.path, "a", encoding="utf-8")
        self._events = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=step + 1)

    def close(self) -> None:
        self._file.close()
        self._events.close()
        if self._wandb is not None:
            self._wandb.finish()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _wandb_run(directory: Path) -> Any:
    if not os.environ.get("WANDB_PROJECT"):
        return None
    try:
        import wandb  # type: ignore[import-not-found]
    except ImportError:
        raise ConfigError(
            "WANDB_PROJECT is set and the package 'wandb' is missing; pip install wandb, or unset it"
        ) from None
    file = directory / "wandb_id"
    if not file.is_file():
        with atomic_write(file) as text:
            text.write(secrets.token_hex(8))
    run = wandb.init(
        dir=str(directory),
        name=os.environ.get("WANDB_NAME"),
        id=file.read_text(encoding="utf-8").strip(),
        resume="allow",
    )
    run.define_metric("*", step_metric=STEP)
    return run


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """All whole lines of a ``metrics.jsonl``; a last line cut by a crash is left out."""
    path = Path(path)
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
