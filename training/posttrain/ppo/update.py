"""The optimizer steps on one rollout: passes, minibatches, micro-batches, the KL stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from millbase.errors import StageError
from training.posttrain.ppo.batches import learning_rate_scale, micro_batches, minibatches
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.kl import kl_estimate
from training.posttrain.ppo.logprobs import token_logprobs
from training.posttrain.ppo.loss import StepStats, importance_weights, policy_loss, value_loss
from training.posttrain.ppo.models import Networks
from training.posttrain.ppo.pretrain_mix import PretrainMix
from training.posttrain.ppo.rollout import Packed, Rollout, completion_hidden, forward_precision
from training.posttrain.ppo.sft_mix import SftMix


@dataclass
class UpdateResult:
    """What the optimizer steps on one rollout did."""

    steps: list[StepStats] = field(default_factory=list)
    """Sums of every optimizer step, over all processes, before the step was taken."""
    policy_steps: int = 0
    critic_steps: int = 0
    policy_grad_norm: float = 0.0
    """Of the last policy step, before clipping."""
    critic_grad_norm: float = 0.0
    policy_learning_rate: float = 0.0
    """At the last step."""
    critic_learning_rate: float = 0.0
    sft_loss: float = 0.0
    pretrain_loss: float = 0.0
    policy_moves: bool = True
    """Whether the policy still takes steps: not during the critic's pretraining, nor after a KL stop."""

    @property
    def done(self) -> int:
        """Optimizer steps taken, whether or not the policy took part."""
        return len(self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a state saved inside an update."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UpdateResult:
        """The inverse of `to_dict`."""
        return cls(**{**values, "steps": [StepStats(**step) for step in values["steps"]]})

    def mean(self, name: str) -> float:
        """Mean over tokens of a statistic, over all steps in which it was computed."""
        counted = "value_tokens" if name.startswith("value") else "policy_tokens"
        tokens = sum(getattr(step, counted) for step in self.steps)
        return sum(getattr(step, name) for step in self.steps) / tokens if tokens else 0.0


class Updater:
    """Holds the two optimizers and takes the steps."""

    def __init__(
        self,
        config: PpoConfig,
        networks: Networks,
        group: Group,
        sft_mix: SftMix | None = None,
        pretrain_mix: PretrainMix | None = None,
    ) -> None:
        self.config, self.networks, self.group = config, networks, group
        self.sft_mix, self.pretrain_mix = sft_mix, pretrain_mix
        # kept as lists: which adapter is on decides what requires a gradient at a given moment
        self.policy_weights = list(networks.policy.trained().values())
        self.critic_weights = list(networks.critic.trained().values())
        self.policy_optimizer = self._optimizer(self.policy_weights)
        self.critic_optimizer = self._optimizer(self.critic_weights)

    def _optimizer(self, weights: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        config = self.config
        return torch.optim.AdamW(
            weights,
            lr=0.0,
            betas=config.adam_betas,
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def update(
        self,
        rollout: Rollout,
        number: int,
        result: UpdateResult | None = None,
        after_step: Callable[[UpdateResult], None] | None = None,
    ) -> UpdateResult:
        """All passes over rollout `number`. The policy rests during the critic's pretraining, and after a KL stop.

        With the `result` of an interrupted update, its remaining steps. `after_step` is called after every step.
        """
        config = self.config
        result = result or UpdateResult(policy_moves=number >= config.critic.pretrain_updates)
        plan = [rows for epoch in range(config.epochs) for rows in minibatches(config, number, epoch)]
        for step in range(result.done, len(plan)):
            stats = self._accumulate(rollout, plan[step], number, step, result)
            stop = config.kl.stop
            if result.policy_moves and stop is not None and stats.approx_kl > stop * stats.policy_tokens:
                result.policy_moves = False  # this step's policy gradient is dropped as well
            if result.policy_moves and stats.policy_tokens:
                self._policy_step(number, step, result)
            if stats.value_tokens:
                self._critic_step(number, step, result)
            if after_step is not None:
                after_step(result)
        return result

    def _accumulate(self, rollout: Rollout, rows: list[int], number: int, step: int, result: UpdateResult) -> StepStats:
        """Gradients of one optimizer step, summed over micro-batches and processes."""
        config, policy_moves = self.config, result.policy_moves
        self.policy_optimizer.zero_grad(set_to_none=True)
        self.critic_optimizer.zero_grad(set_to_none=True)
        tokens = float(rollout.mask[rows].sum())
        total = StepStats()
        sizes = (config.micro_batch_size, config.padding_worth_a_pass)
        for indices in micro_batches(rollout.total_lengths, rows, self.group, *sizes):
            packed = rollout.pack(indices)
            if not len(packed.targets):
                continue  # nothing but completions that were taken out
            if policy_moves:
                total.add(self._policy_backward(rollout, packed, tokens))
            total.add(self._critic_backward(rollout, packed, tokens))
        if policy_moves and tokens:
            index = number * config.epochs * config.minibatches + step
            if self.sft_mix is not None:
                result.sft_loss = self.sft_mix.backward(self.networks.policy, index, config, self.group)
            if self.pretrain_mix is not None:
                result.pretrain_loss = self.pretrain_mix.backward(self.networks.policy, index, config, self.group)
        total = self._sum_over_processes(total, policy_moves)
        result.steps.append(total)
        return total

    def _policy_backward(self, rollout: Rollout, packed: Packed, tokens: float) -> StepStats:
        config, policy = self.config, self.networks.policy
        with_entropy = config.policy.entropy_coef > 0
        with forward_precision(config, self.group.device):
            hidden = completion_hidden(policy, packed)
            logp, entropy = token_logprobs(
                hidden, policy.head, packed.targets, config.temperature, config.logit_chunk, with_entropy
            )
        old_logp = rollout.logp[packed.where]
        cap = config.sampler.ratio_cap
        weights = None if cap is None else importance_weights(old_logp, rollout.sampler_logp[packed.where], cap)
        loss, stats = policy_loss(
            logp,
            old_logp,
            rollout.advantages[packed.where],
            tokens,
            config.policy.clip_low,
            config.policy.clip_high,
            config.policy.dual_clip,
            weights,
        )
        if entropy is not None:
            loss = loss - config.policy.entropy_coef * entropy.sum() / tokens
        if config.kl.loss_coef:
            distance = kl_estimate(logp, rollout.reference_logp[packed.where], config.kl.loss_estimator)
            loss = loss + config.kl.loss_coef * distance.sum() / tokens
        loss.backward()
        return stats

    def _critic_backward(self, rollout: Rollout, packed: Packed, tokens: float) -> StepStats:
        with forward_precision(self.config, self.group.device):
            values = self.networks.critic.values(packed.ids, packed.rows, packed.columns)
        old_values, returns = rollout.values[packed.where], rollout.returns[packed.where]
        loss, total, clipped = value_loss(values, old_values, returns, tokens, self.config.critic.clip)
        loss.backward()
        return StepStats(value_tokens=float(values.numel()), value_loss=total, value_clipped=clipped)

    def _sum_over_processes(self, stats: StepStats, policy_moves: bool) -> StepStats:
        weights = [*self.critic_weights, *(self.policy_weights if policy_moves else [])]
        for parameter in weights:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)  # a process may have been dealt no rows
        sums = torch.tensor(stats.as_list(), device=self.group.device, dtype=torch.float64)
        self.group.sum_([parameter.grad for parameter in weights if parameter.grad is not None])
        self.group.sum_([sums])
        return StepStats(*sums.tolist())

    def _policy_step(self, number: int, step: int, result: UpdateResult) -> None:
        config = self.config
        first = config.critic.pretrain_updates
        scale = learning_rate_scale(config, number, first, config.policy.warmup_updates, step)
        result.policy_learning_rate = config.policy.learning_rate * scale
        result.policy_grad_norm = self._step(self.policy_optimizer, result.policy_learning_rate)
        result.policy_steps += 1

    def _critic_step(self, number: int, step: int, result: UpdateResult) -> None:
        config = self.config
        scale = learning_rate_scale(config, number, 0, config.critic.warmup_updates, step)
        result.critic_learning_rate = config.critic.learning_rate * scale
        result.critic_grad_norm = self._step(self.critic_optimizer, result.critic_learning_rate)
        result.critic_steps += 1

    def _step(self, optimizer: torch.optim.Optimizer, learning_rate: float) -> float:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm))
        if not math.isfinite(norm):
            raise StageError(f"PPO diverged: a gradient norm is {norm}; lower the learning rates or reward.clip")
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()
        return norm
