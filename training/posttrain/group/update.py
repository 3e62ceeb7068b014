"""The optimizer steps on one rollout: passes, minibatches, micro-batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from millbase.errors import StageError
from training.posttrain.group.config import GroupConfig
from training.posttrain.group.objectives import LossStats, group_loss, kl_loss, row_weights
from training.posttrain.group.rollout import GroupRollout
from training.posttrain.ppo.batches import learning_rate_scale, micro_batches, minibatches
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.logprobs import token_logprobs
from training.posttrain.ppo.loss import importance_weights
from training.posttrain.ppo.models import Policy
from training.posttrain.ppo.rollout import Packed, completion_hidden, forward_precision
from training.posttrain.ppo.sft_mix import SftMix


@dataclass
class GroupResult:
    """What the optimizer steps on one rollout did."""

    steps: list[LossStats] = field(default_factory=list)
    """Sums of every optimizer step, over all processes, before the step was taken."""
    taken: int = 0
    """Steps taken: one without any token that teaches is left out."""
    grad_norm: float = 0.0
    """Of the last step, before clipping."""
    learning_rate: float = 0.0
    sft_loss: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a state saved inside an update."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GroupResult:
        """The inverse of `to_dict`."""
        return cls(**{**values, "steps": [LossStats(**step) for step in values["steps"]]})

    def metrics(self) -> dict[str, float]:
        """Means over tokens, and the loss over steps."""
        tokens = max(1.0, sum(step.tokens for step in self.steps))
        mean = {name: sum(getattr(step, name) for step in self.steps) / tokens for name in _MEANS}
        return {
            "loss": sum(step.loss for step in self.steps) / max(1, len(self.steps)),
            "clip_fraction": mean["clipped"],
            "approx_kl": mean["approx_kl"],
            "ratio": mean["ratio"],
            "policy_steps": float(self.taken),
            "grad_norm": self.grad_norm,
            "learning_rate": self.learning_rate,
            "sft_loss": self.sft_loss,
        }


_MEANS = ("clipped", "approx_kl", "ratio")


class GroupUpdater:
    """Holds the optimizer and takes the steps."""

    def __init__(self, config: GroupConfig, policy: Policy, group: Group, sft_mix: SftMix | None = None) -> None:
        self.config, self.ppo, self.policy, self.group = config, config.as_ppo(), policy, group
        self.sft_mix = sft_mix
        self.weights = list(policy.trained().values())
        self.optimizer = torch.optim.AdamW(
            self.weights,
            lr=0.0,
            betas=config.adam_betas,
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def update(
        self,
        rollout: GroupRollout,
        number: int,
        result: GroupResult | None = None,
        after_step: Callable[[GroupResult], None] | None = None,
    ) -> GroupResult:
        """All passes over rollout `number`; with the `result` of an interrupted update, its remaining steps."""
        config = self.config
        result = result or GroupResult()
        plan = [rows for epoch in range(config.epochs) for rows in minibatches(self.ppo, number, epoch)]
        for step in range(len(result.steps), len(plan)):
            stats = self._accumulate(rollout, plan[step], number * len(plan) + step, result)
            if stats.tokens:
                scale = learning_rate_scale(self.ppo, number, 0, config.warmup_updates, step)
                self._step(config.learning_rate * scale, result)
            if after_step is not None:
                after_step(result)
        return result

    def _accumulate(self, rollout: GroupRollout, rows: list[int], index: int, result: GroupResult) -> LossStats:
        """Gradients of one optimizer step, summed over micro-batches and processes."""
        config = self.config
        self.optimizer.zero_grad(set_to_none=True)
        lengths = rollout.mask.sum(1)[rows].to("cpu")
        constant = config.loss.constant or config.max_new_tokens
        weights = torch.zeros(len(rollout.mask), dtype=torch.float64)
        weights[rows] = row_weights(lengths, config.loss.normalization, constant)
        weights = weights.float().to(rollout.device)
        tokens, total = float(lengths.sum()), LossStats()
        sizes = (config.micro_batch_size, config.padding_worth_a_pass)
        for indices in micro_batches(rollout.total_lengths, rows, self.group, *sizes):
            packed = rollout.pack(indices)
            if len(packed.targets):
                total.add(self._backward(rollout, packed, weights, tokens))
        if tokens and self.sft_mix is not None:
            result.sft_loss = self.sft_mix.backward(self.policy, index, self.ppo, self.group)
        total = self._sum_over_processes(total)
        result.steps.append(total)
        return total

    def _backward(self, rollout: GroupRollout, packed: Packed, weights: torch.Tensor, tokens: float) -> LossStats:
        config, policy = self.config, self.policy
        with_entropy = config.loss.entropy_coef > 0
        with forward_precision(self.ppo, self.group.device):
            hidden = completion_hidden(policy, packed)
            logp, entropy = token_logprobs(
                hidden, policy.head, packed.targets, config.temperature, config.logit_chunk, with_entropy
            )
        old_logp, each = rollout.logp[packed.where], weights[packed.where[0]]
        cap = config.sampler.ratio_cap
        correction = None if cap is None else importance_weights(old_logp, rollout.sampler_logp[packed.where], cap)
        advantages = rollout.advantages[packed.where]
        loss, stats = group_loss(logp, old_logp, advantages, each, packed.rows, config.loss, correction)
        if config.kl.coef and config.kl.place == "loss":
            reference = rollout.reference_logp[packed.where]
            loss = loss + config.kl.coef * kl_loss(logp, reference, each, config.kl.estimator)
        if entropy is not None:
            loss = loss - config.loss.entropy_coef * entropy.sum() / tokens
        stats.loss = float(loss.detach())
        loss.backward()
        return stats

    def _sum_over_processes(self, stats: LossStats) -> LossStats:
        for parameter in self.weights:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)  # a process may have been dealt no rows
        sums = torch.tensor(stats.as_list(), device=self.group.device, dtype=torch.float64)
        self.group.sum_([parameter.grad for parameter in self.weights if parameter.grad is not None])
        self.group.sum_([sums])
        return LossStats(*sums.tolist())

    def _step(self, learning_rate: float, result: GroupResult) -> None:
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights, self.config.max_grad_norm))
        if not math.isfinite(norm):
            raise StageError(f"training diverged: a gradient norm is {norm}; lower learning_rate or set reward.clip")
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate
        self.optimizer.step()
        result.taken, result.grad_norm, result.learning_rate = result.taken + 1, norm, learning_rate
