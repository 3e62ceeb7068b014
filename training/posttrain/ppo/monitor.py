"""Over-optimisation: judges that PPO does not train on, and a test for the moment they part from the reward.

Gao et al. 2022 ("Scaling Laws for Reward Model Overoptimization", section 3): under optimisation the learned reward
keeps rising while the true one rises, then falls. Here both are measured on the same completions, in windows of
rollouts. The alarm compares the present window with every earlier one that does not overlap: a judge has fallen and the
reward has risen, each by a one-sided z test of two means at the given significance divided by the number of such
comparisons in the whole run (Bonferroni), so that looking at every update does not raise the rate of false alarms.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from scipy.special import ndtri

REWARD = "reward"


@dataclass(frozen=True)
class Moments:
    """Mean and variance of independent units: the means of the completions of each prompt."""

    count: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: list[float]) -> Moments:
        """From the units; the variance is the unbiased one."""
        count = len(values)
        mean = math.fsum(values) / count
        variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1) if count > 1 else 0.0
        return cls(count, mean, variance)

    @classmethod
    def pooled(cls, parts: list[Moments]) -> Moments:
        """Of the units of several rollouts; each rollout has a mean of its own, so variances are averaged within."""
        count = sum(part.count for part in parts)
        mean = math.fsum(part.count * part.mean for part in parts) / count
        within = math.fsum((part.count - 1) * part.variance for part in parts)
        return cls(count, mean, within / max(1, count - len(parts)))


def z_of_difference(now: Moments, then: Moments) -> float:
    """(mean now - mean then) / its standard error; 0 when neither varies and they are equal, else infinite."""
    error = math.sqrt(now.variance / now.count + then.variance / then.count)
    difference = now.mean - then.mean
    if error == 0:
        return 0.0 if difference == 0 else math.copysign(math.inf, difference)
    return difference / error


@dataclass(frozen=True)
class Alarm:
    """What was found, for the manifest."""

    judge: str
    update: int
    """The last update of the window in which it was noticed, counted from 1."""
    since: int
    """The last update of the earlier window, where the judge was better."""
    judge_before: float
    judge_now: float
    judge_z: float
    reward_before: float
    reward_now: float
    reward_z: float
    threshold: float
    """z that both had to pass."""


class Monitor:
    """The history of the reward and of every judge, a pair of moments a rollout; higher is better for all."""

    def __init__(self, window: int, significance: float, updates: int, judges: int) -> None:
        self.window = window
        comparisons = max(1, judges * sum(max(0, n - window) for n in range(window, updates + 1)))
        self.threshold = float(-ndtri(significance / comparisons))
        self.history: list[dict[str, Moments]] = []
        self.centres: list[tuple[float, float]] = []
        """Mean and standard deviation of each model's scores on the first rollout."""
        self.alarm: Alarm | None = None
        """The first one; later ones add nothing."""

    def observe(self, units: dict[str, list[float]]) -> dict[str, float]:
        """Add a rollout: for `reward` and each judge the means of each prompt's completions. Returns metrics."""
        self.history.append({name: Moments.of(values) for name, values in units.items()})
        worst, found = 0.0, None
        for name in units:
            if name == REWARD:
                continue
            for end in range(self.window, len(self.history) - self.window + 1):
                alarm = self._compare(name, end)
                worst = min(worst, alarm.judge_z)
                if -alarm.judge_z > self.threshold and alarm.reward_z > self.threshold:
                    found = alarm if found is None or alarm.judge_z < found.judge_z else found
        if found is not None and self.alarm is None:
            self.alarm = found
        return {"monitor_worst_z": worst, "overoptimised": float(found is not None)}

    @property
    def best_now(self) -> bool:
        """Whether every judge's present window is the best of its windows so far."""
        names = [name for name in self.history[-1] if name != REWARD]
        ends = range(self.window, len(self.history) + 1)
        return bool(ends) and all(
            max(ends, key=lambda end: self._pooled(name, end).mean) == len(self.history) for name in names
        )

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        history = [{name: asdict(moments) for name, moments in one.items()} for one in self.history]
        alarm = None if self.alarm is None else asdict(self.alarm)
        return {"history": history, "alarm": alarm, "centres": self.centres}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.history = [{name: Moments(**moments) for name, moments in one.items()} for one in state["history"]]
        self.alarm = None if state["alarm"] is None else Alarm(**state["alarm"])
        self.centres = [(mean, std) for mean, std in state["centres"]]

    def report(self) -> dict[str, Any]:
        """For the manifest: the alarm, if any, and what the judges and the reward did from first to last window."""
        window = min(self.window, len(self.history))
        ends = {"first": window, "last": len(self.history)}
        change = {
            name: {place: round(self._pooled(name, end, window).mean, 6) for place, end in ends.items()}
            for name in self.history[-1]
        }
        return {"alarm": None if self.alarm is None else asdict(self.alarm), "windows": change}

    def _compare(self, name: str, end: int) -> Alarm:
        last = len(self.history)
        judge, reward = ((self._pooled(key, end), self._pooled(key, last)) for key in (name, REWARD))
        return Alarm(
            judge=name,
            update=last,
            since=end,
            judge_before=judge[0].mean,
            judge_now=judge[1].mean,
            judge_z=z_of_difference(judge[1], judge[0]),
            reward_before=reward[0].mean,
            reward_now=reward[1].mean,
            reward_z=z_of_difference(reward[1], reward[0]),
            threshold=self.threshold,
        )

    def _pooled(self, name: str, end: int, window: int | None = None) -> Moments:
        return Moments.pooled([one[name] for one in self.history[end - (window or self.window) : end]])


def disagreement(scores: list[list[float]], centres: list[tuple[float, float]]) -> list[float]:
    """Negated spread of the models' opinions on each completion: the standard deviation over models of their scores,
    each standardised with its own (mean, standard deviation) in `centres` (Coste et al. 2023, section 3.3, "UWO")."""
    result = []
    for opinions in zip(*scores):
        z = [(value - mean) / (std or 1.0) for value, (mean, std) in zip(opinions, centres)]
        mean = sum(z) / len(z)
        result.append(-math.sqrt(sum((value - mean) ** 2 for value in z) / len(z)))
    return result
