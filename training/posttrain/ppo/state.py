"""The saved state of a run: everything that a rollout's number and the seed do not determine.

Random numbers need no state (each use has a seed derived from the run's seed and the rollout's number), and neither
does the position in the prompts. What is left: weights, optimizers, KL coefficient, score statistics, the last
accepted policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from millbase.atomic import atomic_write
from millbase.log import get_logger
from training.posttrain.ppo.kl import KlController
from training.posttrain.ppo.models import Networks
from training.posttrain.ppo.rewards import ScoreNormalizer
from training.posttrain.ppo.update import Updater

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
class TrainingState:
    """The parts of a run that change, saved and restored as one file."""

    networks: Networks
    updater: Updater
    controller: KlController
    normalizer: ScoreNormalizer
    accepted: Accepted | None = None

    def save(self, directory: Path, update: int) -> None:
        """Write the state before rollout `update`; the old file is replaced whole."""
        accepted = self.accepted
        state = {
            "update": update,
            "policy": self.networks.policy.model.state_dict(),
            "critic": self.networks.critic.model.state_dict(),
            "policy_optimizer": self.updater.policy_optimizer.state_dict(),
            "critic_optimizer": self.updater.critic_optimizer.state_dict(),
            "kl_coef": self.controller.coef,
            "normalizer": self.normalizer.state(),
            "accepted": None if accepted is None else vars(accepted),
        }
        with atomic_write(directory / STATE_FILE, "wb") as file:
            torch.save(state, file)

    def restore(self, directory: Path) -> int:
        """Load the saved state, if there is one; returns the number of the next rollout."""
        path = directory / STATE_FILE
        if not path.is_file():
            return 0
        device = self.networks.policy.device
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        self.networks.policy.model.load_state_dict(state["policy"])
        self.networks.critic.model.load_state_dict(state["critic"])
        self.updater.policy_optimizer.load_state_dict(state["policy_optimizer"])
        self.updater.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.controller.coef = state["kl_coef"]
        self.normalizer.restore(state["normalizer"])
        self.accepted = None if state["accepted"] is None else Accepted(**state["accepted"])
        logger.info("continuing at update %d of an interrupted run", state["update"])
        return int(state["update"])

    def accept(self, update: int, kl: float) -> None:
        """Remember the present policy as one within the bound."""
        weights = {name: tensor.detach().clone() for name, tensor in self.networks.policy.model.state_dict().items()}
        self.accepted = Accepted(weights, update, kl)

    def put_back(self) -> None:
        """Return to the last accepted policy, and forget the momentum that led away from it."""
        assert self.accepted is not None, "the first policy is accepted before any step"
        self.networks.policy.model.load_state_dict(self.accepted.weights)
        for moments in self.updater.policy_optimizer.state.values():
            moments["exp_avg"].zero_()
