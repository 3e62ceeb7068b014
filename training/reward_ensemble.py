"""Several reward models as one: their mean, the mean less the spread between them, or the least.

Where the members disagree they have seen too little; a policy that is rewarded for less certain answers drifts there.
Coste et al. 2024 (section 3.2) compare the three: the least (their worst-case optimisation) and the mean less the
spread (uncertainty-weighted) resist over-optimisation. Members are put on one scale first: `(reward - shift) / scale`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, ClassVar, Literal

from pydantic import ValidationError

from millbase.artifacts import open_artifact
from millbase.config import Config
from millbase.errors import InputError
from training.load import ENSEMBLE_KIND, LoadedRewardModel, Message, load_reward_model

FILE = "ensemble.json"
Combine = Literal["mean", "lower", "min"]


class Member(Config):
    """One reward model of an ensemble."""

    path: str
    """Its artifact, relative to the ensemble's folder."""
    digest: str
    """Digest of the weights it must have."""
    shift: float = 0.0
    """Subtracted from its rewards."""
    scale: float = 1.0
    """Its rewards are divided by this after the shift."""


class Ensemble(Config):
    """Content of `ensemble.json`."""

    members: list[Member]
    """The reward models."""
    combine: Combine
    """How their rewards become one."""
    width: float
    """For `lower`: standard deviations below the mean."""


def combined(rewards: list[float], combine: Combine, width: float) -> float:
    """One reward of the members' rewards of one conversation."""
    if combine == "min":
        return min(rewards)
    return fmean(rewards) - (width * spread(rewards) if combine == "lower" else 0.0)


def spread(rewards: list[float]) -> float:
    """Standard deviation between members (divided by members - 1); 0 of a single one."""
    return stdev(rewards) if len(rewards) > 1 else 0.0


@dataclass(frozen=True)
class LoadedEnsemble(LoadedRewardModel):
    """An ensemble of reward models; `model` and `tokenizer` are those of its first member."""

    members: tuple[LoadedRewardModel, ...]
    settings: Ensemble
    kind: ClassVar[str] = ENSEMBLE_KIND

    def score(self, list_of_messages: list[list[Message]], batch_size: int = 32) -> list[float]:
        """One reward for each conversation, in the same order."""
        return [reward for reward, _ in self.score_with_spread(list_of_messages, batch_size)]

    def score_with_spread(
        self, list_of_messages: list[list[Message]], batch_size: int = 32
    ) -> list[tuple[float, float]]:
        """(reward, standard deviation between the members) of each conversation."""
        settings = self.settings
        rows = self.score_members(list_of_messages, batch_size)
        return [(combined(rewards, settings.combine, settings.width), spread(rewards)) for rewards in rows]

    def score_members(self, list_of_messages: list[list[Message]], batch_size: int = 32) -> list[list[float]]:
        """`[conversations][members]` rewards on the common scale."""
        columns = []
        for member, loaded in zip(self.settings.members, self.members, strict=True):
            rewards = loaded.score(list_of_messages, batch_size)
            columns.append([(reward - member.shift) / member.scale for reward in rewards])
        return [list(row) for row in zip(*columns, strict=True)]


def load_ensemble(path: Path, dtype: str, device: Any) -> LoadedEnsemble:
    """Open a `reward-ensemble` artifact. InputError when a member is missing or has other weights than recorded."""
    manifest = open_artifact(path, kind=ENSEMBLE_KIND)
    try:
        settings = Ensemble.model_validate(json.loads((path / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: {FILE} cannot be read ({error}); build the ensemble again") from None
    members = []
    for member in settings.members:
        place = Path(member.path) if Path(member.path).is_absolute() else path / member.path
        if not place.is_dir():
            raise InputError(
                f"{path}: its member {str(place)!r} is gone; put it back, or build the ensemble again from where it is"
            )
        loaded = load_reward_model(place, dtype=dtype, device=device)
        if loaded.digest != member.digest:
            raise InputError(
                f"{path}: its member {str(place)!r} has other weights (digest {loaded.digest[:12]}) than when the "
                f"ensemble was built ({member.digest[:12]}); build the ensemble again"
            )
        members.append(loaded)
    first = members[0]
    return LoadedEnsemble(
        model=first.model, tokenizer=first.tokenizer, path=path, digest=manifest.digest,
        max_length=min(member.max_length for member in members), members=tuple(members), settings=settings,
    )  # fmt: skip
