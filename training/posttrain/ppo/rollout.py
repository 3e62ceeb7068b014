"""A rollout: completions of the current policy with everything the update needs to know about them.

Shapes: B completions, T tokens of prompt and completion, C completion tokens; all padded on the right.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from millbase.errors import StageError
from training.posttrain.ppo.advantages import generalized_advantages, token_rewards, whiten
from training.posttrain.ppo.batches import micro_batches, minibatches
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.engines import make_sampler
from training.posttrain.ppo.kl import kl_estimate
from training.posttrain.ppo.logprobs import compare
from training.posttrain.ppo.models import Networks, Policy
from training.posttrain.ppo.prompts import Prompt, PromptSet
from training.posttrain.ppo.rewards import RewardSource, ScoreNormalizer
from training.posttrain.ppo.sampling import Completion
from training.posttrain.ppo.scoring import ScoredCompletion, check_errors, score_all


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
    kept: list[bool]
    """False for a completion that was taken out, because a reward source failed on it or it has no token."""
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
    errors: list[dict[str, Any]] = field(default_factory=list)
    """Completions that a reward source failed on: row, source, reason."""
    judged: dict[str, list[float]] = field(default_factory=dict)
    """The monitor's judges' scores."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of its parts: sampling, scoring, forward passes."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors, for a state saved inside an update; the prompts follow from its number."""
        values = {name: getattr(self, name) for name in _SAVED}
        return {**values, "completions": [vars(completion) for completion in self.completions]}

    @classmethod
    def from_dict(cls, values: dict[str, Any], prompts: list[Prompt]) -> Rollout:
        """The inverse of `to_dict`."""
        values = dict(values)
        later = {name: values.pop(name) for name in ("advantages", "returns")}
        completions = [Completion(**completion) for completion in values.pop("completions")]
        rollout = cls(prompts=prompts, completions=completions, **values)
        rollout.advantages, rollout.returns = later["advantages"], later["returns"]
        return rollout

    @property
    def rows(self) -> list[int]:
        """The completions that count."""
        return [i for i, kept in enumerate(self.kept) if kept]

    @property
    def device(self) -> torch.device:
        return self.mask.device

    @property
    def measured_kl(self) -> float:
        """KL to the reference, in nats, of a completion on average."""
        return float((self.kl * self.mask).sum(1)[self.rows].mean())

    @property
    def total_lengths(self) -> list[int]:
        """Tokens of prompt and completion, for each sequence."""
        return [len(p.tokens) + len(c.tokens) for p, c in zip(self.prompts, self.completions)]

    def pack(self, indices: list[int]) -> Packed:
        """Sequences `indices` as one batch without superfluous padding."""
        prompts = [self.prompts[i].tokens for i in indices]
        completions = [self.completions[i].tokens if self.kept[i] else [] for i in indices]
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
        judges: list[RewardSource] | None = None,
    ) -> None:
        self.config, self.networks, self.prompts = config, networks, prompts
        self.sources, self.normalizer, self.group = sources, normalizer, group
        self.judges = judges or []
        pad = networks.tokenizer.pad_token_id
        self.sampler = make_sampler(config, networks.policy, min(networks.policy.end_ids) if pad is None else pad)

    def make(self, number: int, kl_coef: float) -> Rollout:
        """Rollout `number`, counted from 0; a pure function of the networks, the number and the seed.

        Log-probabilities are computed in the very micro-batches of the first pass over the rollout: so the ratios of
        its first optimizer step are exactly 1, not 1 up to rounding.
        """
        config, group = self.config, self.group
        marks = [time.monotonic()]
        prompts = self.prompts_of(number)
        # like lengths together, and the same load for every process
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].tokens))
        mine = group.share(order)
        with forward_precision(config, group.device):
            own = self.sampler.draw(number, [prompts[i].tokens for i in mine], mine, len(prompts))
        marks.append(time.monotonic())
        scored = score_all(
            [prompts[i] for i in mine], own, self._decode, self.sources, self.judges, config.reward.on_error
        )
        merged: list[Any] = [None] * len(prompts)
        for i, item in zip(order, group.gather(scored)):
            merged[i] = item
        rollout = self._new(prompts, merged)
        marks.append(time.monotonic())
        sizes = (config.micro_batch_size, config.padding_worth_a_pass)
        for rows in minibatches(config, number, epoch=0):
            self._fill(rollout, micro_batches(rollout.total_lengths, rows, group, *sizes))
        # every process has filled its own rows and left zeros elsewhere
        group.sum_(getattr(rollout, name) for name in _COMPUTED)
        self._credit(rollout, kl_coef)
        marks.append(time.monotonic())
        names = ("sampling", "scoring", "forward")
        rollout.seconds = {name: after - before for name, before, after in zip(names, marks, marks[1:])}
        return rollout

    def prompts_of(self, number: int) -> list[Prompt]:
        """The prompts of rollout `number`, each as often as it is answered."""
        each = self.config.samples_per_prompt
        count = self.config.rollout_size // each
        return [prompt for prompt in self.prompts.take(number * count, count) for _ in range(each)]

    def _decode(self, completion: Completion) -> str:
        tokens = completion.tokens[:-1] if completion.finished else completion.tokens
        return self.networks.tokenizer.decode(tokens, skip_special_tokens=True)

    def _new(self, prompts: list[Prompt], scored: list[ScoredCompletion]) -> Rollout:
        """A rollout without what takes a forward pass."""
        device, completions = self.group.device, [item.completion for item in scored]
        errors = check_errors(scored, self.config.reward)
        drop = self.config.reward.on_error == "skip"
        kept = [bool(item.completion.tokens) and not (drop and item.errors) for item in scored]
        if not any(kept):
            raise StageError("no completion of a rollout could be used: none has a token and a score")
        lengths = torch.tensor([len(c.tokens) if keep else 0 for c, keep in zip(completions, kept)])
        width = int(lengths.max())
        mask = (torch.arange(width)[None] < lengths[:, None]).to(device)
        sampler = torch.zeros(mask.shape, device=device)
        sampler[mask] = torch.tensor([x for c, keep in zip(completions, kept) if keep for x in c.logps], device=device)
        total = torch.zeros(len(prompts), dtype=torch.float64)
        for n, source in enumerate(self.sources):
            total += source.weight * torch.tensor([item.scores[n] for item in scored], dtype=torch.float64)
        scores = total.float()
        unfinished = torch.tensor([not completion.finished for completion in completions])
        rows = torch.tensor(kept).nonzero()[:, 0]
        normalized = torch.zeros_like(scores)
        penalty = self.config.reward.missing_eos_penalty * unfinished
        normalized[rows] = self.normalizer(scores[rows]) - penalty[rows]
        blank: dict[str, Any] = {name: torch.zeros(mask.shape, device=device) for name in _COMPUTED}
        return Rollout(
            prompts=prompts,
            completions=completions,
            texts=[item.text for item in scored],
            kept=kept,
            scores=scores,
            source_scores={source.name: [item.scores[n] for item in scored] for n, source in enumerate(self.sources)},
            normalized_scores=normalized.to(device),
            mask=mask,
            sampler_logp=sampler,
            errors=errors,
            judged={judge.name: [item.judged[n] for item in scored] for n, judge in enumerate(self.judges)},
            **blank,
        )

    @torch.no_grad()
    def _fill(self, rollout: Rollout, plan: list[list[int]]) -> None:
        """Everything that takes a forward pass, for the micro-batches `plan`."""
        config, networks = self.config, self.networks
        for indices in plan:
            packed = rollout.pack(indices)
            if not len(packed.targets):
                continue
            policy, reference = networks.policy, networks.reference
            sizes = (config.temperature, config.logit_chunk)
            with forward_precision(config, rollout.device):
                hidden, other = completion_hidden(policy, packed), completion_hidden(reference, packed)
                compared = compare(hidden, policy.head, other, reference.head, packed.targets, *sizes)
                values = networks.critic.values(packed.ids, packed.rows, packed.columns)
            computed = (compared.logp, compared.reference_logp, compared.kl, compared.entropy, values)
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
_SAVED = (
    *("texts", "kept", "scores", "source_scores", "normalized_scores", "mask", "sampler_logp", *_COMPUTED),
    *("advantages", "returns", "errors", "judged", "seconds"),
)
