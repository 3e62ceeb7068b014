"""Between a rollout and the monitor: which numbers of it are shown, as means of the completions of each prompt."""

from __future__ import annotations

import torch

from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.monitor import REWARD, Moments, Monitor, disagreement
from training.posttrain.ppo.rewards import load_judges
from training.posttrain.ppo.rollout import Rollout

DISAGREEMENT = "agreement"
"""Negated spread of the judges that are models; higher is better, as for every judge."""


class Watcher:
    """The judges of a run and their monitor."""

    def __init__(self, config: PpoConfig, device: torch.device) -> None:
        assert config.monitor is not None, "a run without a monitor has no watcher"
        settings = config.monitor
        self.config = config
        self.judges = load_judges(settings, config.reward.batch_size, device)
        self.models = [judge.name for judge in self.judges[: len(settings.models)]]
        opinions = len(self.judges) + (len(self.models) > 1)
        self.monitor = Monitor(settings.window, settings.significance, config.total_updates, opinions)

    def observe(self, rollout: Rollout) -> dict[str, float]:
        """Show a rollout to the monitor; returns metrics."""
        judged = dict(rollout.judged)
        if len(self.models) > 1:
            scores = [judged[name] for name in self.models]
            if not self.monitor.centres:
                moments = [Moments.of([one[i] for i in rollout.rows]) for one in scores]
                self.monitor.centres = [(one.mean, one.variance**0.5) for one in moments]
            judged[DISAGREEMENT] = disagreement(scores, self.monitor.centres)
        units = {REWARD: self._units(rollout, rollout.scores.tolist())}
        units |= {name: self._units(rollout, values) for name, values in judged.items()}
        metrics = self.monitor.observe(units)
        if DISAGREEMENT in judged:
            metrics[f"monitor_{DISAGREEMENT}"] = sum(units[DISAGREEMENT]) / len(units[DISAGREEMENT])
        return metrics

    def _units(self, rollout: Rollout, values: list[float]) -> list[float]:
        """Completions of one prompt are not independent, so their mean is one unit."""
        each = self.config.samples_per_prompt
        units = []
        for start in range(0, len(values), each):
            kept = [values[i] for i in range(start, start + each) if rollout.kept[i]]
            if kept:
                units.append(sum(kept) / len(kept))
        return units
