"""The PPO loop: rollout, check of the KL bound, optimizer steps, records; repeated, and resumable between rollouts.

Why a loop of our own and not transformers.Trainer: the Trainer's unit is a batch of a fixed dataset, PPO's is a
rollout that the model being trained writes. What the Trainer would give, PPO must own anyway to be exact: one
normalisation over the tokens of an optimizer step, two optimizers with schedules of their own, an early stop inside
an update, and a resume that is bit-identical. Without it, all that is random is a pure function of (seed, rollout
number), so a saved state is weights, optimizer moments and four numbers.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from millbase.atomic import atomic_write
from millbase.errors import ConfigError, StageError
from millbase.log import get_logger
from millbase.metrics import MetricsWriter, read_metrics
from millbase.progress import progress
from millbase.seeds import derive_seed, seed_everything
from training.posttrain.model import export
from training.posttrain.ppo.advantages import explained_variance, masked_mean
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.kl import KlController
from training.posttrain.ppo.models import load_networks
from training.posttrain.ppo.prompts import read_prompts
from training.posttrain.ppo.rewards import ScoreNormalizer, load_sources
from training.posttrain.ppo.rollout import Rollout, RolloutMaker
from training.posttrain.ppo.sft_mix import SftMix
from training.posttrain.ppo.state import TrainingState
from training.posttrain.ppo.update import Updater, UpdateResult

logger = get_logger(__name__)

SAMPLES = "samples.jsonl"


class PpoTrainer:
    """One PPO run in this process; `work` receives metrics, samples and, at the end, the models."""

    def __init__(self, config: PpoConfig, work: Path, scratch: Path, group: Group) -> None:
        self.config, self.work, self.scratch, self.group = config, work, scratch, group
        self.networks = load_networks(config, group.device)
        tokenizer = self.networks.tokenizer
        limit = min(config.max_prompt_length, self.networks.max_length - config.max_new_tokens)
        if limit < 1:
            raise ConfigError(
                f"max_new_tokens = {config.max_new_tokens} leaves no room for a prompt in the model's "
                f"{self.networks.max_length} positions; lower it"
            )
        self.prompts = read_prompts(config.prompts, tokenizer, limit, config.seed)
        sources = load_sources(config.reward, group.device)
        mix = None if config.sft_mix is None else SftMix(config.sft_mix, tokenizer, config.seed)
        normalizer = ScoreNormalizer(config.reward.normalize, config.reward.clip)
        self.maker = RolloutMaker(config, self.networks, self.prompts, sources, normalizer, group)
        self.updater = Updater(config, self.networks, group, mix)
        self.controller = KlController.from_config(config.kl)
        self.state = TrainingState(self.networks, self.updater, self.controller, normalizer)

    def run(self) -> dict[str, Any]:
        """Train to the end and save; returns the artifact's statistics."""
        config = self.config
        start = self.state.restore(self.scratch)
        with self._records(start) as records, progress("PPO", total=config.total_updates, unit="updates") as bar:
            bar.advance(start)
            for update in range(start, config.total_updates):
                metrics = self._update(update, records)
                bar.note(_note(metrics))
                bar.advance(1)
                if self.group.main and (update + 1) % config.save_every == 0:
                    self.state.save(self.scratch, update + 1)
            final = self._measure_final(records)
        if self.group.main:
            self._save_models()
        return {
            "stage": "ppo",
            "tokenizer_digest": self.networks.tokenizer_digest,
            "prompts": self.prompts.stats,
            "updates": config.total_updates,
            **final,
        }

    def _update(self, update: int, records: _Records) -> dict[str, float]:
        """One rollout and the steps on it."""
        seed_everything(derive_seed(self.config.seed, "update", update))  # for reward functions that draw numbers
        began = time.monotonic()
        rollout = self.maker.make(update, self.controller.coef)
        metrics = rollout_metrics(rollout)
        metrics["kl_coef"] = self.controller.coef
        metrics["seconds_rollout"] = time.monotonic() - began
        accepted = self._within_bound(update, rollout.measured_kl)
        metrics["rejected"] = float(not accepted)
        if accepted:
            if update >= self.config.critic.pretrain_updates:
                self.controller.update(rollout.measured_kl)
            metrics.update(update_metrics(self.updater.update(rollout, update)))
        metrics["seconds"] = time.monotonic() - began
        records.log(update, metrics, rollout)
        return metrics

    def _within_bound(self, update: int, kl: float) -> bool:
        """Accept the policy that wrote a rollout, or put the last accepted one back."""
        limit = self.config.kl.limit
        if limit is None:
            return True
        if kl <= limit:
            self.state.accept(update, kl)
            return True
        if self.state.accepted is None:
            raise StageError(
                f"the starting policy is already {kl:.2f} nats from the reference, above kl.limit = {limit}; raise the "
                "limit or start from the reference"
            )
        logger.info("update %d: KL %.3f above the limit %.3f, going back to update %d", update, kl, limit,
                    self.state.accepted.update)  # fmt: skip
        self.state.put_back()
        self.controller.tighten()
        return False

    def _measure_final(self, records: _Records) -> dict[str, Any]:
        """Reward and KL of the policy that will be saved, on prompts after those trained on."""
        update = self.config.total_updates
        seed_everything(derive_seed(self.config.seed, "update", update))
        rollout = self.maker.make(update, self.controller.coef)
        metrics = rollout_metrics(rollout)
        if self._within_bound(update, rollout.measured_kl):
            records.sample(update, rollout)
            return {"reward": metrics["reward"], "kl": metrics["kl"], "kl_measured_at": update}
        # the accepted policy was measured by the rollout it wrote
        accepted = self.state.accepted
        assert accepted is not None
        return {"reward": records.reward_at(accepted.update), "kl": accepted.kl, "kl_measured_at": accepted.update}

    @contextmanager
    def _records(self, start: int) -> Iterator[_Records]:
        records = _Records(self.work, start, self.config) if self.group.main else _Silence(self.config)
        try:
            yield records
        finally:
            records.close()

    def _save_models(self) -> None:
        networks = self.networks
        stop_id = networks.tokenizer.eos_token_id or min(networks.policy.end_ids)
        for folder, model in (("hf", networks.policy.model), ("critic", networks.critic.model)):
            export(model, networks.tokenizer, self.work / folder, stop_id)


class _Records:
    """metrics.jsonl, TensorBoard and samples.jsonl; a resumed run drops what it will write again."""

    def __init__(self, work: Path, start: int, config: PpoConfig) -> None:
        self.config, self.path = config, work / SAMPLES
        if start == 0:
            shutil.rmtree(work / "tensorboard", ignore_errors=True)
        with atomic_write(self.path) as file:
            file.writelines(
                json.dumps(line, ensure_ascii=False) + "\n" for line in read_metrics(self.path) if line["step"] <= start
            )
        self.metrics = MetricsWriter(work, resume_step=start if start else None)

    def log(self, update: int, metrics: dict[str, float], rollout: Rollout) -> None:
        """Record one update; steps count from 1."""
        self.metrics.log(update + 1, metrics)
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

    def reward_at(self, update: int) -> float:
        """The mean reward logged for an update."""
        return next(line["reward"] for line in read_metrics(self.metrics.path) if line["step"] == update + 1)

    def close(self) -> None:
        self.metrics.close()


class _Silence(_Records):
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


def rollout_metrics(rollout: Rollout) -> dict[str, float]:
    """What a rollout says about the policy that wrote it."""
    finished = [completion.finished for completion in rollout.completions]
    mismatch = (rollout.logp - rollout.sampler_logp).abs()
    metrics = {
        "reward": float(rollout.scores.mean()),
        "reward_std": float(rollout.scores.std(correction=0)),
        "reward_normalized": float(rollout.normalized_scores.mean()),
        "kl": rollout.measured_kl,
        "kl_per_token": float(masked_mean(rollout.kl, rollout.mask)),
        "entropy": float(masked_mean(rollout.entropy, rollout.mask)),
        "explained_variance": explained_variance(rollout.values, rollout.returns, rollout.mask),
        "response_length": float(rollout.mask.sum(1).float().mean()),
        "eos_share": sum(finished) / len(finished),
        "sampler_mismatch": float(masked_mean(mismatch, rollout.mask)),
    }
    for name, scores in rollout.source_scores.items():
        metrics[f"reward_{name}" if name != "reward_model" else "rm_score"] = sum(scores) / len(scores)
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
        }
    return metrics


def _note(metrics: dict[str, float]) -> str:
    return f"reward {metrics['reward']:.3f}, KL {metrics['kl']:.3f}, length {metrics['response_length']:.0f}"
