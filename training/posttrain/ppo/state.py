"""The saved state of a run: everything that a rollout's number and the seed do not determine.

Random numbers need no state (each use has a seed derived from the run's seed and the rollout's number), and neither
does the position in the prompts. What is left: weights, optimizers, KL coefficient, score statistics, what the monitor
saw, the last accepted policy; and for a state saved inside an update, the rollout and the number of steps taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from millbase.atomic import atomic_write
from millbase.log import get_logger
from training.posttrain.ppo.kl import KlController
from training.posttrain.ppo.models import Critic, Networks, Policy
from training.posttrain.ppo.monitor import Monitor
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.ppo.rewards import ScoreNormalizer
from training.posttrain.ppo.rollout import Rollout
from training.posttrain.ppo.update import Updater, UpdateResult

logger = get_logger(__name__)

STATE_FILE = "state.pt"


@dataclass
class Accepted:
    """The last policy whose measured KL was within the hard bound."""

    weights: dict[str, torch.Tensor]
    update: int
    """The rollout that measured it."""
    kl: float


@dataclass
class Partial:
    """An update that was under way: its rollout, what its steps did, what was measured before them."""

    rollout: Rollout
    result: UpdateResult
    metrics: dict[str, float]


@dataclass
class TrainingState:
    """The parts of a run that change, saved and restored as one file."""

    networks: Networks
    updater: Updater
    controller: KlController
    normalizer: ScoreNormalizer
    monitor: Monitor | None = None
    accepted: Accepted | None = None
    best: Accepted | None = None
    """The policy of the monitor's best window, where an alarm puts it back."""

    def save(self, directory: Path, update: int, partial: Partial | None = None) -> None:
        """Write the state before rollout `update`, or inside its update; the old file is replaced whole."""
        state = {
            "update": update,
            "policy": self._weights(self.networks.policy),
            "critic": self._weights(self.networks.critic),
            "policy_optimizer": self.updater.policy_optimizer.state_dict(),
            "critic_optimizer": self.updater.critic_optimizer.state_dict(),
            "kl_coef": self.controller.coef,
            "normalizer": self.normalizer.state(),
            "monitor": None if self.monitor is None else self.monitor.state(),
            "accepted": None if self.accepted is None else vars(self.accepted),
            "best": None if self.best is None else vars(self.best),
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

    def restore(self, directory: Path, prompts: Callable[[int], list[Prompt]]) -> tuple[int, Partial | None]:
        """Load the saved state, if there is one: (number of the next rollout, or of the one under way; what is left).

        `prompts` gives a rollout's prompts, which are not saved.
        """
        path = directory / STATE_FILE
        if not path.is_file():
            return 0, None
        device = self.networks.policy.device
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        self._load(self.networks.policy, state["policy"])
        self._load(self.networks.critic, state["critic"])
        self.updater.policy_optimizer.load_state_dict(state["policy_optimizer"])
        self.updater.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.controller.coef = state["kl_coef"]
        self.normalizer.restore(state["normalizer"])
        if self.monitor is not None:
            self.monitor.restore(state["monitor"])
        self.accepted, self.best = (None if state[n] is None else Accepted(**state[n]) for n in ("accepted", "best"))
        update, partial = int(state["update"]), None
        if state["partial"] is not None:
            saved = state["partial"]
            rollout = Rollout.from_dict(saved["rollout"], prompts(update))
            partial = Partial(rollout, UpdateResult.from_dict(saved["result"]), saved["metrics"])
        inside = "" if partial is None else f", after {partial.result.done} of its optimizer steps"
        logger.info("continuing at update %d of an interrupted run%s", update, inside)
        return update, partial

    def accept(self, update: int, kl: float) -> None:
        """Remember the present policy as one within the bound."""
        self.accepted = self._copy(update, kl)

    def remember_best(self, update: int, kl: float) -> None:
        """Remember the present policy as the monitor's best."""
        self.best = self._copy(update, kl)

    def put_back(self, which: Accepted | None = None) -> None:
        """Return to the last accepted policy (or `which`), and forget the momentum that led away from it."""
        kept = which or self.accepted
        assert kept is not None, "the first policy is accepted before any step"
        self._load(self.networks.policy, kept.weights)
        for moments in self.updater.policy_optimizer.state.values():
            moments["exp_avg"].zero_()

    def _copy(self, update: int, kl: float) -> Accepted:
        weights = self._weights(self.networks.policy)
        return Accepted({name: tensor.clone() for name, tensor in weights.items()}, update, kl)

    @staticmethod
    def _weights(network: Policy | Critic) -> dict[str, torch.Tensor]:
        return {name: weight.detach() for name, weight in network.trained().items()}

    @staticmethod
    @torch.no_grad()
    def _load(network: Policy | Critic, weights: dict[str, torch.Tensor]) -> None:
        for name, weight in network.trained().items():
            weight.copy_(weights[name])
