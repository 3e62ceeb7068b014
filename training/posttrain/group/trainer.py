"""The loop of group methods: rollout, optimizer steps, records; repeated, and resumable at any optimizer step.

Why not TRL's GRPOTrainer: its rollout buffer and random state are not in its checkpoints, its loss is a mean of
micro-batch means for most of its types, and it has neither dynamic sampling nor trees. PPO's parts give exact resume
and equality of processes already, so the loop here is short; the tests compare its loss with TRL's on the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from millbase.errors import ConfigError
from millbase.progress import progress
from millbase.seeds import derive_seed, seed_everything
from training.posttrain.group.config import GroupConfig
from training.posttrain.group.models import load_models
from training.posttrain.group.records import GroupRecords, GroupSilence, rollout_metrics
from training.posttrain.group.rollout import GroupRolloutMaker
from training.posttrain.group.state import GroupState, Partial, Position
from training.posttrain.group.update import GroupResult, GroupUpdater
from training.posttrain.model import export
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.prompts import PromptSet, read_prompts
from training.posttrain.ppo.records import Records
from training.posttrain.ppo.rewards import RewardSource, load_sources
from training.posttrain.ppo.sft_mix import SftMix
from training.posttrain.verifiable import VerifiableSource


class GroupTrainer:
    """One run in this process; `work` receives metrics, samples and, at the end, the model."""

    def __init__(self, config: GroupConfig, work: Path, scratch: Path, group: Group) -> None:
        self.config, self.work, self.scratch, self.group = config, work, scratch, group
        self.models = load_models(config, group.device)
        tokenizer = self.models.tokenizer
        limit = min(config.max_prompt_length, self.models.max_length - config.max_new_tokens)
        if limit < 1:
            raise ConfigError(
                f"max_new_tokens = {config.max_new_tokens} leaves no room for a prompt in the model's "
                f"{self.models.max_length} positions; lower it"
            )
        self.prompts = read_prompts(config.prompts, tokenizer, limit, config.seed)
        sources = make_sources(config, self.prompts, group)
        self.maker = GroupRolloutMaker(config, self.models, self.prompts, sources, group)
        mix = None if config.sft_mix is None else SftMix(config.sft_mix, tokenizer, config.seed)
        self.updater = GroupUpdater(config, self.models.policy, group, mix)
        self.state = GroupState(self.models.policy, self.updater)
        self.unsaved_steps = 0

    def run(self) -> dict[str, Any]:
        """Train to the end and save; returns the artifact's statistics."""
        config = self.config
        position = self.state.restore(self.scratch, self.maker.prompts_of)
        start = position.update
        title = config.method.upper().replace("_", "-")
        with self._records(start) as records, progress(title, total=config.updates, unit="updates") as bar:
            bar.advance(start)
            for update in range(start, config.updates):
                metrics = self._update(position, records)
                position = Position(update + 1, position.cursor)
                bar.note(_note(metrics))
                bar.advance(1)
                if self.group.main and (update + 1) % config.save_every == 0:
                    self.state.save(self.scratch, position)
            final = self._measure_final(position, records)
        if self.group.main:
            tokenizer = self.models.tokenizer
            stop_id = tokenizer.eos_token_id or min(self.models.policy.end_ids)
            export(self.models.merged(), tokenizer, self.work / "hf", stop_id)
        return {
            "stage": "grpo",
            "method": config.method,
            "tokenizer_digest": self.models.tokenizer_digest,
            "prompts": self.prompts.stats,
            "prompts_answered": position.cursor,
            "updates": config.updates,
            **final,
        }

    def _update(self, position: Position, records: Records) -> dict[str, float]:
        """One rollout and the steps on it, or the remaining steps of one under way; moves the position's cursor."""
        update = position.update
        seed_everything(derive_seed(self.config.seed, "update", update))  # for reward functions that draw numbers
        began = time.monotonic()
        if position.partial is None:
            rollout, position.cursor = self.maker.make(update, position.cursor)
            metrics = rollout_metrics(rollout, self.config.kl.measure)
            metrics |= {f"seconds_{name}": seconds for name, seconds in rollout.seconds.items()}
            metrics["seconds_rollout"] = time.monotonic() - began
            position.partial = Partial(rollout, GroupResult(), metrics)
        partial = position.partial
        steps_began = time.monotonic()
        result = self.updater.update(
            partial.rollout, update, partial.result, lambda _: self._save_inside(update, position)
        )
        metrics = partial.metrics | result.metrics()
        metrics["seconds_update"] = time.monotonic() - steps_began
        metrics["seconds"] = time.monotonic() - began
        records.log(update, metrics, partial.rollout)
        return metrics

    def _save_inside(self, update: int, position: Position) -> None:
        """Save between two optimizer steps of an update, where the configuration asks for it."""
        every, partial = self.config.save_every_steps, position.partial
        if every is None or partial is None or not self.group.main:
            return
        self.unsaved_steps += 1
        if self.unsaved_steps >= every and len(partial.result.steps) < self.config.epochs * self.config.minibatches:
            self.state.save(self.scratch, Position(update, position.cursor, partial))
            self.unsaved_steps = 0

    def _measure_final(self, position: Position, records: Records) -> dict[str, Any]:
        """Reward and KL of the policy that will be saved, on the prompts after those trained on."""
        update = self.config.updates
        seed_everything(derive_seed(self.config.seed, "update", update))
        rollout, _ = self.maker.make(update, position.cursor, refill=False)
        records.sample(update, rollout)
        metrics = rollout_metrics(rollout, self.config.kl.measure)
        return {name: metrics[name] for name in ("reward", "kl") if name in metrics}

    @contextmanager
    def _records(self, start: int) -> Iterator[Records]:
        ppo = self.config.as_ppo()
        records = GroupRecords(self.work, start, ppo) if self.group.main else GroupSilence(ppo)
        try:
            yield records
        finally:
            records.close()


def make_sources(config: GroupConfig, prompts: PromptSet, group: Group) -> list[RewardSource]:
    """All sources of the reward. UserError where one cannot be loaded, or prompt rows lack what it reads."""
    sources = load_sources(config.reward, group.device)
    for source in sources:
        if isinstance(source, VerifiableSource):
            source.check_prompts(prompts.prompts)
    return sources


def _note(metrics: dict[str, float]) -> str:
    kl = f", KL {metrics['kl']:.3f}" if "kl" in metrics else ""
    return f"reward {metrics['reward']:.3f}{kl}, length {metrics['response_length']:.0f}"
