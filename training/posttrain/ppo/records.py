"""What a PPO run writes while it goes: metrics, TensorBoard events, samples, and completions without a reward."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from millbase.atomic import atomic_write
from millbase.metrics import MetricsWriter, read_metrics
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.rollout import Rollout

SAMPLES = "samples.jsonl"
REWARD_ERRORS = "reward_errors.jsonl"


class Records:
    """metrics.jsonl, TensorBoard and samples.jsonl; a resumed run drops what it will write again."""

    def __init__(self, work: Path, start: int, config: PpoConfig) -> None:
        self.config, self.path = config, work / SAMPLES
        self.errors = work / REWARD_ERRORS
        if start == 0:
            shutil.rmtree(work / "tensorboard", ignore_errors=True)
        for path in (self.path, self.errors):
            lines = [line for line in read_metrics(path) if line["step"] <= start]
            if lines or path == self.path:
                with atomic_write(path) as file:
                    file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            else:
                path.unlink(missing_ok=True)
        self.metrics = MetricsWriter(work, resume_step=start if start else None)

    def log(self, update: int, metrics: dict[str, float], rollout: Rollout) -> None:
        """Record one update; steps count from 1."""
        self.metrics.log(update + 1, metrics)
        self._keep_errors(update, rollout)
        if update % self.config.sample_every == 0:
            self.sample(update, rollout)

    def sample(self, update: int, rollout: Rollout) -> None:
        """Some completions, for people to read."""
        with open(self.path, "a", encoding="utf-8") as file:
            for i in range(min(self.config.sample_count, len(rollout.texts))):
                line = {
                    "step": update + 1,
                    "prompt": rollout.prompts[i].messages,
                    "completion": rollout.texts[i],
                    "score": round(float(rollout.scores[i]), 6),
                    "kl": round(float((rollout.kl[i] * rollout.mask[i]).sum()), 6),
                    "finished": rollout.completions[i].finished,
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _keep_errors(self, update: int, rollout: Rollout) -> None:
        """Every completion that a reward source failed on, whole."""
        if not rollout.errors:
            return
        with open(self.errors, "a", encoding="utf-8") as file:
            for error in rollout.errors:
                row = error["row"]
                line = {
                    "step": update + 1,
                    "source": error["source"],
                    "reason": error["reason"],
                    "done": self.config.reward.on_error,
                    "prompt": rollout.prompts[row].messages,
                    "completion": rollout.texts[row],
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def reward_at(self, update: int) -> float:
        """The mean reward logged for an update."""
        return next(line["reward"] for line in read_metrics(self.metrics.path) if line["step"] == update + 1)

    def close(self) -> None:
        self.metrics.close()


class Silence(Records):
    """What processes other than the main one record: nothing."""

    def __init__(self, config: PpoConfig) -> None:
        self.config = config

    def log(self, update: int, metrics: dict[str, float], rollout: Rollout) -> None:
        pass

    def sample(self, update: int, rollout: Rollout) -> None:
        pass

    def reward_at(self, update: int) -> float:
        return 0.0

    def close(self) -> None:
        pass
