"""An ensemble of reward models, brought to one scale on pairs of answers.

    llmill reward-ensemble members=[runs/reward_0,runs/reward_1,runs/reward_2] data=pairs.jsonl --out runs/ensemble

Members that differ by `seed` (their heads and their order of rows) disagree most where training says least. The
artifact holds no weights, only where its members are, their digests and scales; it loads wherever a reward model does.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from millbase.artifacts import create_artifact
from millbase.atomic import atomic_write
from millbase.config import Config
from millbase.files import glob_files
from training.posttrain.data import MAX_BAD_SHARE, Row, load_preferences
from training.posttrain.split import take

_LOG_TEMPERATURES = (-5.0, 5.0)


class EnsembleConfig(Config):
    """Reward models joined into a `reward-ensemble`."""

    members: list[str] = Field(min_length=1)
    """`reward-model` artifacts. One alone, with `data`, is a calibrated reward model."""
    combine: Literal["mean", "lower", "min"] = "mean"
    """The members' mean, the mean less `width` standard deviations between them, or the least of them. The last two
    resist over-optimisation (Coste et al. 2024)."""
    width: float = Field(default=1.0, ge=0)
    """For `lower`: standard deviations below the mean."""
    data: str | list[str] | None = None
    """Held-out pairs (files as for `llmill reward`) on which every member is calibrated: its rewards are shifted to
    mean 0 and divided by the temperature that makes sigmoid(margin) the likeliest probability of the labels (Guo et al.
    2017, section 4.2), so that all members count in log-odds. null leaves rewards as they are."""
    limit: int | None = Field(default=512, gt=0)
    """Use at most this many pairs; null for all."""
    max_bad_share: float = Field(default=MAX_BAD_SHARE, ge=0, le=1)
    """Unusable rows are counted and skipped; more than this share of them stops the stage."""
    batch_size: int = Field(default=64, gt=0)
    """Conversations per forward pass."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    seed: int = Field(default=0, ge=0)
    """Draws the pairs."""

    @model_validator(mode="after")
    def _members_differ(self) -> EnsembleConfig:
        if len(set(self.members)) != len(self.members):
            raise ValueError("members names a reward model twice; every member must be another one")
        return self


def build_ensemble(config: EnsembleConfig, out: str | Path) -> Path:
    """Calibrate the members and write a `reward-ensemble` artifact at `out`.

    Raises UserError subclasses for members that do not load and unusable pairs.
    """
    from training.load import ENSEMBLE_KIND, load_reward_model
    from training.reward_ensemble import FILE, Ensemble, Member

    out = Path(out)
    data = None if config.data is None else glob_files(config.data, "preferences files")
    inputs: dict[str, Any] = {f"member_{number}": path for number, path in enumerate(config.members)}
    with create_artifact(
        out, kind=ENSEMBLE_KIND, config=config, inputs={**inputs, "data": data}, seed=config.seed
    ) as art:
        rows: list[Row] = []
        if config.data is not None:
            loaded_rows = load_preferences(config.data, config.max_bad_share)
            rows = take(loaded_rows.rows, 1.0, config.limit, config.seed)
            art.stats["data"] = {**loaded_rows.stats, "used": len(rows)}
        members, columns, figures = [], [], []
        for path in config.members:
            model = load_reward_model(path, device=None if config.device == "auto" else config.device)
            shift, scale = 0.0, 1.0
            if rows:
                sides = [
                    model.score([row["prompt"] + row[side] for row in rows], config.batch_size)
                    for side in ("chosen", "rejected")
                ]
                margins = [chosen - rejected for chosen, rejected in zip(*sides, strict=True)]
                shift, scale = sum(map(sum, sides)) / (2 * len(rows)), temperature(margins)
                columns.append([margin / scale for margin in margins])
                figures.append({"path": path, **quality(margins, scale)})
            place = os.path.relpath(path, out)
            members.append(Member(path=place, digest=model.digest, shift=shift, scale=scale))
        if rows:
            art.stats["members"] = figures
            means = [sum(column) / len(column) for column in zip(*columns, strict=True)]
            art.stats["mean_of_members"] = quality(means, 1.0)
        content = Ensemble(members=members, combine=config.combine, width=config.width)
        with atomic_write(art.path / FILE) as file:
            file.write(json.dumps(content.to_dict(), indent=2) + "\n")
    return out


def temperature(margins: Sequence[float]) -> float:
    """T > 0 that makes the probabilities sigmoid(margin / T) of right labels likeliest, between e^-5 and e^5.

    The likelihood is concave in 1 / T; pairs without a mistake have no best T and get the smallest.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda log: log_loss(margins, math.exp(log)), bounds=_LOG_TEMPERATURES, method="bounded")
    return math.exp(float(found.x))


def log_loss(margins: Sequence[float], scale: float) -> float:
    """Mean of -log sigmoid(margin / scale), nats a pair."""
    return sum(max(-m, 0.0) + math.log1p(math.exp(-abs(m))) for m in (margin / scale for margin in margins)) / len(
        margins
    )


def quality(margins: Sequence[float], scale: float) -> dict[str, float]:
    """Accuracy, log-loss before and after dividing by `scale`, and `scale`."""
    figures = {
        "accuracy": sum(margin > 0 for margin in margins) / len(margins),
        "log_loss": log_loss(margins, 1.0),
        "log_loss_calibrated": log_loss(margins, scale),
        "temperature": scale,
    }
    return {name: float(f"{value:.6g}") for name, value in figures.items()}
