"""What a run writes while it goes: PPO's records, and its figures of a rollout."""

from __future__ import annotations

import json

from training.posttrain.group.rollout import GroupRollout
from training.posttrain.ppo.advantages import masked_mean
from training.posttrain.ppo.records import Records, Silence
from training.posttrain.ppo.rollout import Rollout


class GroupRecords(Records):
    """metrics.jsonl, TensorBoard, samples.jsonl; reward_errors.jsonl has the groups that were left out too."""

    def _keep_errors(self, update: int, rollout: Rollout) -> None:
        assert isinstance(rollout, GroupRollout)
        if not rollout.failures:
            return
        with open(self.errors, "a", encoding="utf-8") as file:
            for failure in rollout.failures:
                line = {"step": update + 1, "done": self.config.reward.on_error, **failure}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


class GroupSilence(Silence):
    """What processes other than the main one record: nothing."""


def rollout_metrics(rollout: GroupRollout, with_kl: bool) -> dict[str, float]:
    """What a rollout says about the policy that wrote it. `reward`, its parts, lengths and `zero_variance_share` count
    every group sampled; KL and entropy those that are trained on."""
    rows = rollout.rows
    size = len(rollout.kept) // max(1, len(rollout.numbers))
    metrics = {
        **rollout.figures,
        "groups_trained": float(len({row // size for row in rows})),
        "reward_shaped": float(rollout.normalized_scores[rows].mean()) if rows else 0.0,
        "entropy": 0.0,
        "sampler_mismatch": 0.0,
        "sampler_ratio": 1.0,
    }
    if rows:
        difference = rollout.logp - rollout.sampler_logp
        metrics["entropy"] = float(masked_mean(rollout.entropy, rollout.mask))
        metrics["sampler_mismatch"] = float(masked_mean(difference.abs(), rollout.mask))
        metrics["sampler_ratio"] = float(masked_mean(difference.exp(), rollout.mask))
    if with_kl:
        metrics["kl"] = rollout.measured_kl if rows else 0.0
        metrics["kl_per_token"] = float(masked_mean(rollout.kl, rollout.mask)) if rows else 0.0
    return metrics
