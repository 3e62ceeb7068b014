"""The figures of one update: what a rollout says about the policy that wrote it, and what the steps on it did."""

from __future__ import annotations

from training.posttrain.ppo.advantages import explained_variance, masked_mean
from training.posttrain.ppo.rollout import Rollout
from training.posttrain.ppo.update import UpdateResult


def rollout_metrics(rollout: Rollout) -> dict[str, float]:
    """What a rollout says about the policy that wrote it."""
    rows = rollout.rows
    finished = [rollout.completions[i].finished for i in rows]
    mismatch = rollout.logp - rollout.sampler_logp
    scores = rollout.scores[rows]
    metrics = {
        "reward": float(scores.mean()),
        "reward_std": float(scores.std(correction=0)),
        "reward_normalized": float(rollout.normalized_scores[rows].mean()),
        "kl": rollout.measured_kl,
        "kl_per_token": float(masked_mean(rollout.kl, rollout.mask)),
        "entropy": float(masked_mean(rollout.entropy, rollout.mask)),
        "explained_variance": explained_variance(rollout.values, rollout.returns, rollout.mask),
        "response_length": float(rollout.mask.sum(1)[rows].float().mean()),
        "eos_share": sum(finished) / len(finished),
        "sampler_mismatch": float(masked_mean(mismatch.abs(), rollout.mask)),
        "sampler_ratio": float(masked_mean(mismatch.exp(), rollout.mask)),
        "reward_errors": float(len({error["row"] for error in rollout.errors})),
    }
    for name, values in rollout.source_scores.items():
        metrics[f"reward_{name}" if name != "reward_model" else "rm_score"] = sum(values[i] for i in rows) / len(rows)
    for name, values in rollout.judged.items():
        metrics[f"monitor_{name}"] = sum(values[i] for i in rows) / len(rows)
    return metrics


def update_metrics(result: UpdateResult) -> dict[str, float]:
    """What the optimizer steps did."""
    metrics = {
        "value_loss": result.mean("value_loss"),
        "value_clip_fraction": result.mean("value_clipped"),
        "critic_learning_rate": result.critic_learning_rate,
        "critic_grad_norm": result.critic_grad_norm,
        "policy_steps": float(result.policy_steps),
        "critic_steps": float(result.critic_steps),
    }
    if any(step.policy_tokens for step in result.steps):
        metrics |= {
            "loss": result.mean("policy_loss"),
            "clip_fraction": result.mean("clipped"),
            "approx_kl": result.mean("approx_kl"),
            "ratio": result.mean("ratio"),
            "learning_rate": result.policy_learning_rate,
            "grad_norm": result.policy_grad_norm,
            "sft_loss": result.sft_loss,
            "pretrain_loss": result.pretrain_loss,
        }
    return metrics
