"""The saved state of a run: what the seed and a rollout's number do not determine.

Weights, optimizer, the number of the next prompt (dynamic sampling takes as many as it needs); and for a state saved
inside an update, the rollout and what its steps did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from millbase.atomic import atomic_write
from millbase.log import get_logger
from training.posttrain.group.rollout import GroupRollout
from training.posttrain.group.update import GroupResult, GroupUpdater
from training.posttrain.ppo.models import Policy
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.ppo.state import STATE_FILE

logger = get_logger(__name__)


@dataclass
class Partial:
    """An update that was under way."""

    rollout: GroupRollout
    result: GroupResult
    metrics: dict[str, float]


@dataclass
class Position:
    """Where a run goes on."""

    update: int = 0
    """The next rollout, or the one under way."""
    cursor: int = 0
    """The next prompt."""
    partial: Partial | None = None


@dataclass
class GroupState:
    """The parts of a run that change, saved and restored as one file."""

    policy: Policy
    updater: GroupUpdater

    def save(self, directory: Path, position: Position) -> None:
        """Write the state; the old file is replaced whole."""
        partial = position.partial
        state: dict[str, Any] = {
            "update": position.update,
            "cursor": position.cursor,
            "policy": {name: weight.detach() for name, weight in self.policy.trained().items()},
            "optimizer": self.updater.optimizer.state_dict(),
            "partial": None,
        }
        if partial is not None:
            state["partial"] = {
                "rollout": partial.rollout.to_dict(),
                "result": partial.result.to_dict(),
                "metrics": partial.metrics,
            }
        with atomic_write(directory / STATE_FILE, "wb") as file:
            torch.save(state, file)

    def restore(self, directory: Path, prompts: Callable[[list[int]], list[Prompt]]) -> Position:
        """Load the saved state, if there is one. `prompts` gives those of the groups of a rollout, which are not
        saved."""
        path = directory / STATE_FILE
        if not path.is_file():
            return Position()
        state: dict[str, Any] = torch.load(path, map_location=self.policy.device, weights_only=True)
        with torch.no_grad():
            for name, weight in self.policy.trained().items():
                weight.copy_(state["policy"][name])
        self.updater.optimizer.load_state_dict(state["optimizer"])
        position = Position(int(state["update"]), int(state["cursor"]))
        saved = state["partial"]
        if saved is not None:
            rollout = GroupRollout.from_dict(saved["rollout"], prompts(saved["rollout"]["numbers"]))
            assert isinstance(rollout, GroupRollout)
            position.partial = Partial(rollout, GroupResult.from_dict(saved["result"]), saved["metrics"])
        inside = "" if saved is None else f", after {len(saved['result']['steps'])} of its optimizer steps"
        logger.info("continuing at update %d of an interrupted run%s", position.update, inside)
        return position
