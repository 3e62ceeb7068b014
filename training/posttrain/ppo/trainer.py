"""The PPO loop: rollout, check of the KL bound, optimizer steps, records; repeated, and resumable between rollouts.

Why a loop of our own and not transformers.Trainer: the Trainer's unit is a batch of a fixed dataset, PPO's is a
rollout that the model being trained writes. What the Trainer would give, PPO must own anyway to be exact: one
normalisation over the tokens of an optimizer step, two optimizers with schedules of their own, an early stop inside
an update, and a resume that is bit-identical. Without it, all that is random is a pure function of (seed, rollout
number), so a saved state is weights, optimizer moments and four numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from millbase.errors import ConfigError, StageError
from millbase.log import get_logger
from millbase.progress import progress
from millbase.seeds import derive_seed, seed_everything
from training.posttrain.model import export
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.kl import KlController
from training.posttrain.ppo.metrics import rollout_metrics, update_metrics
from training.posttrain.ppo.models import load_networks
from training.posttrain.ppo.pretrain_mix import PretrainMix
from training.posttrain.ppo.prompts import read_prompts
from training.posttrain.ppo.records import Records, Silence
from training.posttrain.ppo.rewards import ScoreNormalizer, load_sources
from training.posttrain.ppo.rollout import Rollout, RolloutMaker
from training.posttrain.ppo.sft_mix import SftMix
from training.posttrain.ppo.state import Partial, TrainingState
from training.posttrain.ppo.update import Updater, UpdateResult
from training.posttrain.ppo.watcher import Watcher
from training.posttrain.verifiable import VerifiableSource

logger = get_logger(__name__)


class PpoTrainer:
    """One PPO run in this process; `work` receives metrics, samples and, at the end, the models."""

    def __init__(self, config: PpoConfig, work: Path, scratch: Path, group: Group) -> None:
        self.config, self.work, self.scratch, self.group = config, work, scratch, group
        self.networks = load_networks(config, group.device)
        tokenizer, longest = self.networks.tokenizer, self.networks.max_length
        limit = min(config.max_prompt_length, longest - config.max_new_tokens)
        if limit < 1:
            raise ConfigError(
                f"max_new_tokens = {config.max_new_tokens} leaves no room for a prompt in the model's "
                f"{longest} positions; lower it"
            )
        self.prompts = read_prompts(config.prompts, tokenizer, limit, config.seed)
        sources = load_sources(config.reward, group.device)
        for source in sources:
            if isinstance(source, VerifiableSource):
                source.check_prompts(self.prompts.prompts)
        watcher = None if config.monitor is None else Watcher(config, group.device)
        normalizer = ScoreNormalizer(config.reward.normalize, config.reward.clip)
        judges = [] if watcher is None else watcher.judges
        self.maker = RolloutMaker(config, self.networks, self.prompts, sources, normalizer, group, judges)
        mix, text = config.sft_mix, config.pretrain_mix
        self.updater = Updater(
            config,
            self.networks,
            group,
            None if mix is None else SftMix(mix, tokenizer, config.seed),
            None if text is None else PretrainMix(text, self.networks.tokenizer_digest, longest, config.seed),
        )
        self.controller = KlController.from_config(config.kl)
        self.watcher = watcher
        self.state = TrainingState(
            self.networks, self.updater, self.controller, normalizer, None if watcher is None else watcher.monitor
        )
        self.unsaved_steps = 0

    def run(self) -> dict[str, Any]:
        """Train to the end and save; returns the artifact's statistics."""
        config = self.config
        start, partial = self.state.restore(self.scratch, self.maker.prompts_of)
        done = start
        with self._records(start) as records, progress("PPO", total=config.total_updates, unit="updates") as bar:
            bar.advance(start)
            for update in range(start, config.total_updates):
                if self._stopped:
                    break
                metrics = self._update(update, records, partial)
                done, partial = update + 1, None
                bar.note(_note(metrics))
                bar.advance(1)
                if self.group.main and done % config.save_every == 0:
                    self.state.save(self.scratch, done)
            final = self._measure_final(records)
        if self.group.main:
            self._save_models()
        return {
            "stage": "ppo",
            "tokenizer_digest": self.networks.tokenizer_digest,
            "prompts": self.prompts.stats,
            "updates": done,
            **final,
            **({} if self.watcher is None else {"monitor": self.watcher.monitor.report()}),
        }

    @property
    def _stopped(self) -> bool:
        """Whether an alarm of the monitor has ended the training."""
        watcher, monitor = self.watcher, self.config.monitor
        ends = monitor is not None and monitor.on_alarm == "stop"
        return ends and watcher is not None and watcher.monitor.alarm is not None

    def _update(self, update: int, records: Records, partial: Partial | None = None) -> dict[str, float]:
        """One rollout and the steps on it, or the remaining steps of a `partial` one."""
        seed_everything(derive_seed(self.config.seed, "update", update))  # for reward functions that draw numbers
        began = time.monotonic()
        if partial is None:
            rollout = self.maker.make(update, self.controller.coef)
            metrics = rollout_metrics(rollout)
            metrics["kl_coef"] = self.controller.coef
            metrics |= {f"seconds_{name}": seconds for name, seconds in rollout.seconds.items()}
            metrics["seconds_rollout"] = time.monotonic() - began
            accepted = self._within_bound(update, rollout.measured_kl)
            metrics["rejected"] = float(not accepted)
            if accepted and self.watcher is not None:
                metrics |= self._watch(update, rollout)
            if accepted and update >= self.config.critic.pretrain_updates:
                self.controller.update(rollout.measured_kl)
        else:
            rollout, metrics = partial.rollout, partial.metrics
            accepted = True
        if accepted and not self._stopped:
            metrics |= self._steps(update, rollout, metrics, partial)
        metrics["seconds"] = time.monotonic() - began
        records.log(update, metrics, rollout)
        return metrics

    def _steps(
        self, update: int, rollout: Rollout, metrics: dict[str, float], partial: Partial | None
    ) -> dict[str, float]:
        """The optimizer steps on a rollout, with states saved on the way where the configuration asks for them."""
        every = self.config.save_every_steps
        total = self.config.epochs * self.config.minibatches
        began = time.monotonic()

        def after_step(result: UpdateResult) -> None:
            if every is None or not self.group.main:
                return
            self.unsaved_steps += 1
            if self.unsaved_steps >= every and result.done < total:
                self.state.save(self.scratch, update, Partial(rollout, result, metrics))
                self.unsaved_steps = 0

        result = self.updater.update(rollout, update, None if partial is None else partial.result, after_step)
        return update_metrics(result) | {"seconds_update": time.monotonic() - began}

    def _watch(self, update: int, rollout: Rollout) -> dict[str, float]:
        """Show the rollout to the monitor; on an alarm that ends the training, put its best policy back."""
        assert self.watcher is not None and self.config.monitor is not None
        monitor, state = self.watcher.monitor, self.state
        before = monitor.alarm
        metrics = self.watcher.observe(rollout)
        alarm = monitor.alarm
        if self.config.monitor.on_alarm == "stop" and monitor.best_now:
            state.remember_best(update, rollout.measured_kl)
        if alarm is not None and before is None:
            logger.warning(
                "update %d: the reward is being over-optimised: since update %d it rose from %.4g to %.4g while judge "
                "%s fell from %.4g to %.4g (z %.1f, threshold %.1f)",
                alarm.update, alarm.since, alarm.reward_before, alarm.reward_now, alarm.judge, alarm.judge_before,
                alarm.judge_now, alarm.judge_z, alarm.threshold,
            )  # fmt: skip
            if self._stopped and state.best is not None:
                state.put_back(state.best)
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

    def _measure_final(self, records: Records) -> dict[str, Any]:
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
    def _records(self, start: int) -> Iterator[Records]:
        records = Records(self.work, start, self.config) if self.group.main else Silence(self.config)
        try:
            yield records
        finally:
            records.close()

    def _save_models(self) -> None:
        networks = self.networks
        stop_id = networks.tokenizer.eos_token_id or min(networks.policy.end_ids)
        for folder, model in zip(("hf", "critic"), networks.merged()):
            export(model, networks.tokenizer, self.work / folder, stop_id)


def _note(metrics: dict[str, float]) -> str:
    return f"reward {metrics['reward']:.3f}, KL {metrics['kl']:.3f}, length {metrics['response_length']:.0f}"
