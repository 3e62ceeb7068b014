"""A rollout: completions of the current policy with everything the update needs to know about them.

Shapes: B completions, T tokens of prompt and completion, C completion tokens; all padded on the right.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from millbase.seeds import derive_seed
from training.posttrain.ppo.advantages import generalized_advantages, token_rewards, whiten
from training.posttrain.ppo.batches import micro_batches, minibatches
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.kl import kl_estimate
from training.posttrain.ppo.logprobs import compare, token_logprobs
from training.posttrain.ppo.models import Networks, Policy
from training.posttrain.ppo.prompts import Prompt, PromptSet
from training.posttrain.ppo.rewards import RewardSource, ScoreNormalizer
from training.posttrain.ppo.sampling import Completion, sample


@dataclass(frozen=True)
class Packed:
    """Some sequences of a rollout as one padded batch, and where in it the completion tokens are predicted."""

    ids: torch.Tensor
    """[b, T] token ids."""
    rows: torch.Tensor
    """[N] row in `ids` of each completion token."""
    columns: torch.Tensor
    """[N] position that predicts it: the one before its own."""
    targets: torch.Tensor
    """[N] the token."""
    where: tuple[torch.Tensor, torch.Tensor]
    """Indices of these tokens in the rollout's [B, C] tensors."""


@dataclass
class Rollout:
    """All processes hold all of it: the tensors are small beside the models."""

    prompts: list[Prompt]
    completions: list[Completion]
    texts: list[str]
    scores: torch.Tensor
    """[B] weighted sum of the sources, as they gave it."""
    source_scores: dict[str, list[float]]
    """Each source's own scores, without weight."""
    normalized_scores: torch.Tensor
    """[B] after normalisation, clipping and the penalty for a missing end."""
    mask: torch.Tensor
    """[B, C] true on completion tokens, the end-of-turn token included."""
    sampler_logp: torch.Tensor
    logp: torch.Tensor
    """[B, C] under the policy that wrote the rollout, computed as in training."""
    reference_logp: torch.Tensor
    kl: torch.Tensor
    """[B, C] exact KL(policy || reference) of each next-token distribution, in nats."""
    entropy: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor = field(init=False)
    returns: torch.Tensor = field(init=False)

    @property
    def device(self) -> torch.device:
        return self.mask.device

    @property
    def measured_kl(self) -> float:
        """KL to the reference, in nats, of a completion on average."""
        return float((self.kl * self.mask).sum(1).mean())

    @property
    def total_lengths(self) -> list[int]:
        """Tokens of prompt and completion, for each sequence."""
        return [len(p.tokens) + len(c.tokens) for p, c in zip(self.prompts, self.completions)]

    def pack(self, indices: list[int]) -> Packed:
        """Sequences `indices` as one batch without superfluous padding."""
        prompts = [self.prompts[i].tokens for i in indices]
        completions = [self.completions[i].tokens for i in indices]
        width = max(len(p) + len(c) for p, c in zip(prompts, completions))
        ids = [p + c + [0] * (width - len(p) - len(c)) for p, c in zip(prompts, completions)]
        rows = [r for r, c in enumerate(completions) for _ in c]
        columns = [len(p) - 1 + t for p, c in zip(prompts, completions) for t in range(len(c))]
        source = [i for i, c in zip(indices, completions) for _ in c]
        place = [t for c in completions for t in range(len(c))]
        flat = [token for c in completions for token in c]
        return Packed(
            ids=self._index(ids),
            rows=self._index(rows),
            columns=self._index(columns),
            targets=self._index(flat),
            where=(self._index(source), self._index(place)),
        )

    def _index(self, numbers: list[Any]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self.device)


@contextlib.contextmanager
def forward_precision(config: PpoConfig, device: torch.device) -> Iterator[None]:
    """Autocast for every forward pass, where the configuration asks for it."""
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        yield


def completion_hidden(policy: Policy, packed: Packed) -> torch.Tensor:
    """Hidden states [N, H] that predict the packed completion tokens."""
    return policy.hidden(packed.ids)[packed.rows, packed.columns]


class RolloutMaker:
    """Makes rollout number k: samples, scores, and computes log-probabilities, values and advantages."""

    def __init__(
        self,
        config: PpoConfig,
        networks: Networks,
        prompts: PromptSet,
        sources: list[RewardSource],
        normalizer: ScoreNormalizer,
        group: Group,
    ) -> None:
        self.config, self.networks, self.prompts = config, networks, prompts
        self.sources, self.normalizer, self.group = sources, normalizer, group

    def make(self, number: int, kl_coef: float) -> Rollout:
        """Rollout `number`, counted from 0; a pure function of the networks, the number and the seed.

        Log-probabilities are computed in the very micro-batches of the first pass over the rollout: so the ratios of
        its first optimizer step are exactly 1, not 1 up to rounding.
        """
        prompts = self._prompts(number)
        completions, texts, source_scores = self._sample_and_score(number, prompts)
        scores = torch.zeros(len(prompts), dtype=torch.float64)
        for source in self.sources:
            scores += source.weight * torch.tensor(source_scores[source.name], dtype=torch.float64)
        rollout = self._new(prompts, completions, texts, scores.float(), source_scores)
        config = self.config
        for rows in minibatches(config, number, epoch=0):
            self._fill(rollout, micro_batches(rollout.total_lengths, rows, self.group, config.micro_batch_size))
        # every process has filled its own rows and left zeros elsewhere
        self.group.sum_(getattr(rollout, name) for name in _COMPUTED)
        self._credit(rollout, kl_coef)
        return rollout

    def _prompts(self, number: int) -> list[Prompt]:
        each = self.config.samples_per_prompt
        count = self.config.rollout_size // each
        return [prompt for prompt in self.prompts.take(number * count, count) for _ in range(each)]

    def _sample_and_score(
        self, number: int, prompts: list[Prompt]
    ) -> tuple[list[Completion], list[str], dict[str, list[float]]]:
        config, networks, group = self.config, self.networks, self.group
        noise = torch.Generator().manual_seed(derive_seed(config.seed, "sampling", number))
        uniforms = torch.rand(len(prompts), config.max_new_tokens, dtype=torch.float64, generator=noise)
        # like lengths together, and the same load for every process
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].tokens))
        mine = group.share(order)
        own = [prompts[i] for i in mine]
        with forward_precision(config, group.device):
            completions = sample(
                networks.policy, [p.tokens for p in own], uniforms[mine], config.temperature, config.sampling_batch_size
            )
        texts = [self._decode(completion) for completion in completions]
        scores = [source.score(own, texts) for source in self.sources]
        merged = group.gather(list(zip(completions, texts, zip(*scores))))
        result: list[Any] = [None] * len(prompts)
        for i, item in zip(order, merged):
            result[i] = item
        by_source = {source.name: [item[2][n] for item in result] for n, source in enumerate(self.sources)}
        return [item[0] for item in result], [item[1] for item in result], by_source

    def _decode(self, completion: Completion) -> str:
        tokens = completion.tokens[:-1] if completion.finished else completion.tokens
        return self.networks.tokenizer.decode(tokens, skip_special_tokens=True)

    def _new(
        self,
        prompts: list[Prompt],
        completions: list[Completion],
        texts: list[str],
        scores: torch.Tensor,
        source_scores: dict[str, list[float]],
    ) -> Rollout:
        device = self.group.device
        lengths = torch.tensor([len(completion.tokens) for completion in completions])
        width = int(lengths.max())
        mask = (torch.arange(width)[None] < lengths[:, None]).to(device)
        sampler = torch.tensor([c.logps + [0.0] * (width - len(c.logps)) for c in completions], device=device)
        unfinished = torch.tensor([not completion.finished for completion in completions])
        normalized = self.normalizer(scores) - self.config.reward.missing_eos_penalty * unfinished
        blank = {name: torch.zeros(mask.shape, device=device) for name in _COMPUTED}
        return Rollout(
            prompts, completions, texts, scores, source_scores, normalized.to(device), mask, sampler, **blank
        )

    @torch.no_grad()
    def _fill(self, rollout: Rollout, plan: list[list[int]]) -> None:
        """Everything that takes a forward pass, for the micro-batches `plan`."""
        config, networks = self.config, self.networks
        for indices in plan:
            packed = rollout.pack(indices)
            policy, reference = networks.policy, networks.reference
            sizes = (config.temperature, config.logit_chunk)
            with forward_precision(config, rollout.device):
                hidden = completion_hidden(policy, packed)
                logp, _ = token_logprobs(hidden, policy.head, packed.targets, *sizes)
                other = completion_hidden(reference, packed)
                compared = compare(hidden, policy.head, other, reference.head, packed.targets, *sizes)
                values = networks.critic.values(packed.ids, packed.rows, packed.columns)
            computed = (logp, compared.reference_logp, compared.kl, compared.entropy, values)
            for name, value in zip(_COMPUTED, computed):
                getattr(rollout, name)[packed.where] = value

    def _credit(self, rollout: Rollout, kl_coef: float) -> None:
        """Advantages and returns, from scores, KL penalty and values."""
        config = self.config
        penalty = kl_estimate(rollout.logp, rollout.reference_logp, config.kl.estimator)
        rewards = token_rewards(rollout.normalized_scores, penalty, rollout.mask, kl_coef)
        if config.reward.whiten:
            rewards = whiten(rewards, rollout.mask, shift_mean=False)
        advantages, returns = generalized_advantages(rewards, rollout.values, rollout.mask, config.gamma, config.lam)
        rollout.advantages = whiten(advantages, rollout.mask) if config.whiten_advantages else advantages
        rollout.returns = returns


_COMPUTED = ("logp", "reference_logp", "kl", "entropy", "values")
