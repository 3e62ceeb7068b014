"""A rollout of groups: sampled, scored, refilled where dynamic sampling asks for it, with log-probabilities and
advantages.

Shapes as in PPO's rollout, whose class is used: B completions, C completion tokens, padded on the right. Its values and
returns stay 0: there is no critic.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from training.posttrain.group.config import GroupConfig
from training.posttrain.group.models import Models
from training.posttrain.group.objectives import (
    group_advantages,
    node_advantages,
    overlong_punishment,
    tree_advantages,
    varies,
)
from training.posttrain.group.writers import Leaf, make_writer, origins
from training.posttrain.ppo.batches import micro_batches, minibatches
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.engines import make_sampler
from training.posttrain.ppo.kl import kl_estimate
from training.posttrain.ppo.logprobs import compare
from training.posttrain.ppo.prompts import Prompt, PromptSet
from training.posttrain.ppo.rewards import RewardSource
from training.posttrain.ppo.rollout import Rollout, completion_hidden, forward_precision
from training.posttrain.ppo.sampling import Completion
from training.posttrain.ppo.scoring import ScoredCompletion, check_errors, score_all

COMPUTED = ("logp", "reference_logp", "kl", "entropy")
"""Tensors that take a forward pass."""


@dataclass
class Answers:
    """One prompt's completions with their scores."""

    number: int
    """Of the prompt, in the endless order of prompts."""
    prompt: Prompt
    leaves: list[Leaf]
    scored: list[ScoredCompletion]
    scores: list[float]
    """Weighted sums of the sources."""
    counted: list[bool]
    """False where a source failed and `on_error` is `skip`, or there is no token."""

    @property
    def useful(self) -> bool:
        """Whether the completions' scores differ."""
        row = (torch.tensor([self.scores], dtype=torch.float64), torch.tensor([self.counted]))
        return bool(varies(*row))


@dataclass
class GroupRollout(Rollout):
    """PPO's rollout, with what was sampled beside it."""

    numbers: list[int] = field(default_factory=list)
    """The number of each group's prompt."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Every completion that a reward source failed on, of groups that were not kept too."""
    figures: dict[str, float] = field(default_factory=dict)
    """What is counted over all groups sampled: rewards, share of groups with equal scores, rounds, tokens."""

    def to_dict(self) -> dict[str, Any]:
        """As PPO's, with what is more here."""
        return {**super().to_dict(), "numbers": self.numbers, "failures": self.failures, "figures": self.figures}


class GroupRolloutMaker:
    """Makes rollouts; a pure function of the networks, the rollout's number, the next prompt's number and the seed."""

    def __init__(
        self, config: GroupConfig, models: Models, prompts: PromptSet, sources: Sequence[RewardSource], group: Group
    ) -> None:
        self.config, self.ppo, self.models, self.prompts = config, config.as_ppo(), models, prompts
        self.sources, self.group = list(sources), group
        pad = models.tokenizer.pad_token_id
        sampler = make_sampler(self.ppo, models.policy, min(models.policy.end_ids) if pad is None else pad)
        self.writer = make_writer(config, sampler, models.policy, models.tokenizer, models.max_length)

    def make(self, number: int, cursor: int, refill: bool = True) -> tuple[GroupRollout, int]:
        """(rollout `number`, number of the next prompt). `cursor` is the first prompt to answer.

        Log-probabilities are computed in the very micro-batches of the first pass over the rollout: so the ratios of
        its first optimizer step are exactly 1, not 1 up to rounding.
        """
        config, group = self.config, self.group
        seconds = {"sampling": 0.0, "scoring": 0.0}
        answers, tries = self._collect(number, cursor, refill, seconds)
        kept = self._choose(answers, refill)
        rollout = self._new(kept, refill)
        rollout.figures = {"tries": float(tries), **self._figures(answers)}
        rollout.failures = [record for one in answers for record in self._failures(one)]
        began = time.monotonic()
        sizes = (config.micro_batch_size, config.padding_worth_a_pass)
        for rows in minibatches(self.ppo, number, epoch=0):
            self._fill(rollout, micro_batches(rollout.total_lengths, rows, group, *sizes))
        group.sum_(getattr(rollout, name) for name in COMPUTED)
        self._credit(rollout, kept)
        rollout.seconds = {**seconds, "forward": time.monotonic() - began}
        return rollout, cursor + len(answers)

    def prompts_of(self, numbers: list[int]) -> list[Prompt]:
        """The prompts of a rollout's groups, each as often as it is answered."""
        each = self.config.samples_per_prompt
        return [prompt for n in numbers for prompt in self.prompts.take(n, 1) for _ in range(each)]

    def _collect(self, number: int, cursor: int, refill: bool, seconds: dict[str, float]) -> tuple[list[Answers], int]:
        """Answer prompts until there are groups enough, or, with dynamic sampling, useful ones enough; also returns the
        number of rounds that took."""
        dynamic = self.config.dynamic if refill else None
        wanted = self.config.rollout_size // self.config.samples_per_prompt
        tries = 1 if dynamic is None else dynamic.max_tries
        answers: list[Answers] = []
        missing, share = wanted, 1.0
        for turn in range(tries):
            count = min(wanted, math.ceil(missing / max(share, 1 / wanted)))
            answers += self._answer(number * tries + turn, cursor + len(answers), count, seconds)
            useful = sum(one.useful for one in answers)
            missing, share = wanted - useful, useful / len(answers)
            if dynamic is None or missing <= 0:
                break
        return answers, turn + 1

    def _answer(self, draw: int, first: int, count: int, seconds: dict[str, float]) -> list[Answers]:
        """Groups for prompts `first` to `first + count`; whole groups are dealt to the processes."""
        group, config = self.group, self.config
        began = time.monotonic()
        prompts = self.prompts.take(first, count)
        order = sorted(range(count), key=lambda i: len(prompts[i].tokens))  # like lengths together
        mine = group.share(order)
        with forward_precision(self.ppo, group.device):
            groups = self.writer.write(draw, [prompts[i].tokens for i in mine], mine, count)
        seconds["sampling"] += time.monotonic() - began
        began = time.monotonic()
        flat = [leaf.completion for leaves in groups for leaf in leaves]
        owners = [prompts[i] for i, leaves in zip(mine, groups) for _ in leaves]
        scored = score_all(owners, flat, self._decode, self.sources, [], config.reward.on_error)
        size = config.samples_per_prompt
        own = [(leaves, scored[k * size : (k + 1) * size]) for k, leaves in enumerate(groups)]
        merged: list[Any] = [None] * count
        for i, item in zip(order, group.gather(own)):
            merged[i] = item
        check_errors([one for _, scored in merged for one in scored], config.reward)
        seconds["scoring"] += time.monotonic() - began
        return [self._judge(first + i, prompts[i], *merged[i]) for i in range(count)]

    def _judge(self, number: int, prompt: Prompt, leaves: list[Leaf], scored: list[ScoredCompletion]) -> Answers:
        scores = [sum(w.weight * value for w, value in zip(self.sources, one.scores)) for one in scored]
        clip = self.config.reward.clip
        if clip is not None:
            scores = [min(max(score, -clip), clip) for score in scores]
        drop = self.config.reward.on_error == "skip"
        counted = [bool(one.completion.tokens) and not (drop and one.errors) for one in scored]
        return Answers(number, prompt, leaves, scored, scores, counted)

    def _decode(self, completion: Completion) -> str:
        tokens = completion.tokens[:-1] if completion.finished else completion.tokens
        return self.models.tokenizer.decode(tokens, skip_special_tokens=True)

    def _choose(self, answers: list[Answers], refill: bool) -> list[Answers]:
        """The rollout's groups: all, or with dynamic sampling the useful ones, filled up with others not trained on."""
        wanted = self.config.rollout_size // self.config.samples_per_prompt
        if self.config.dynamic is None or not refill:
            return answers
        useful = [one for one in answers if one.useful]
        others = [one for one in answers if not one.useful]
        return (useful + others)[:wanted]

    def _new(self, groups: list[Answers], refill: bool) -> GroupRollout:
        """A rollout without what takes a forward pass."""
        config, device = self.config, self.group.device
        scored = [one for group in groups for one in group.scored]
        completions = [one.completion for one in scored]
        counted = [keep for group in groups for keep in group.counted]
        teaches = [not (config.dynamic and refill) or group.useful for group in groups for _ in group.scored]
        kept = [
            keep and useful and (completion.finished or not (config.mask_truncated and refill))
            for keep, useful, completion in zip(counted, teaches, completions)
        ]
        scores = torch.tensor([score for group in groups for score in group.scores], dtype=torch.float64)
        shaped = scores - torch.tensor([self._punishment(one) for one in completions], dtype=torch.float64)
        lengths = torch.tensor([len(c.tokens) if keep else 0 for c, keep in zip(completions, kept)])
        mask = (torch.arange(max(int(lengths.max()), 1))[None] < lengths[:, None]).to(device)
        sampler = torch.zeros(mask.shape, device=device)
        sampler[mask] = torch.tensor([x for c, keep in zip(completions, kept) if keep for x in c.logps], device=device)
        errors = [
            {"row": row, "source": source, "reason": reason}
            for row, one in enumerate(scored)
            for source, reason in one.errors.items()
        ]
        blank: dict[str, Any] = {name: torch.zeros(mask.shape, device=device) for name in (*COMPUTED, "values")}
        rollout = GroupRollout(
            prompts=[group.prompt for group in groups for _ in group.scored],
            completions=completions,
            texts=[one.text for one in scored],
            kept=kept,
            scores=scores.float(),
            source_scores={source.name: [one.scores[n] for one in scored] for n, source in enumerate(self.sources)},
            normalized_scores=shaped,
            mask=mask,
            sampler_logp=sampler,
            errors=errors,
            numbers=[group.number for group in groups],
            **blank,
        )
        rollout.returns = rollout.values
        return rollout

    def _punishment(self, completion: Completion) -> float:
        """What is subtracted from a completion's score for its length."""
        config = self.config
        total = 0.0 if completion.finished else config.reward.missing_eos_penalty
        if config.overlong is not None:
            cache = config.overlong.cache or max(1, config.max_new_tokens // 5)
            length = len(completion.tokens)
            total -= config.overlong.penalty * overlong_punishment(length, config.max_new_tokens, cache)
        return total

    @torch.no_grad()
    def _fill(self, rollout: GroupRollout, plan: list[list[int]]) -> None:
        """Everything that takes a forward pass, for the micro-batches `plan`."""
        config, policy, reference = self.config, self.models.policy, self.models.reference
        sizes = (config.temperature, config.logit_chunk)
        for indices in plan:
            packed = rollout.pack(indices)
            if not len(packed.targets):
                continue
            with forward_precision(self.ppo, rollout.device):
                hidden = completion_hidden(policy, packed)
                # without a reference the policy is compared with itself, for its entropy
                other = hidden if reference is None else completion_hidden(reference, packed)
                head = policy.head if reference is None else reference.head
                compared = compare(hidden, policy.head, other, head, packed.targets, *sizes)
            for name, value in zip(COMPUTED, (compared.logp, compared.reference_logp, compared.kl, compared.entropy)):
                getattr(rollout, name)[packed.where] = value

    def _credit(self, rollout: GroupRollout, groups: list[Answers]) -> None:
        """Advantages [B, C], from scores, punishments and, where it belongs to the reward, the KL."""
        config, size = self.config, self.config.samples_per_prompt
        scores = rollout.normalized_scores.to("cpu")
        if config.kl.coef and config.kl.place == "reward":
            distance = kl_estimate(rollout.logp, rollout.reference_logp, config.kl.estimator) * rollout.mask
            scores = scores - config.kl.coef * distance.sum(1).double().to("cpu")
        rollout.normalized_scores = scores.float()
        counted = torch.tensor([group.counted for group in groups])
        advantages = torch.zeros(rollout.mask.shape, dtype=torch.float64)
        if config.tree is None:
            advantages += group_advantages(scores.view(-1, size), counted, config.advantage).view(-1, 1)
        else:
            for n, (group, keep) in enumerate(zip(groups, counted)):
                rows = slice(n * size, (n + 1) * size)
                advantages[rows] = self._tree_credit(group, scores[rows], keep, advantages.shape[1])
        rollout.advantages = advantages.float().to(rollout.device) * rollout.mask

    def _tree_credit(self, group: Answers, scores: torch.Tensor, counted: torch.Tensor, width: int) -> torch.Tensor:
        """[G, width] advantages of one prompt's tree."""
        assert self.config.tree is not None
        if self.config.tree.credit == "leaf":
            trees = torch.tensor([leaf.tree for leaf in group.leaves])
            return tree_advantages(scores, counted, trees, self.config.advantage)[:, None].expand(-1, width)
        credit = torch.zeros(len(scores), width, dtype=torch.float64)
        if bool(varies(scores[None], counted[None])):
            names = origins(group.leaves)[:, :width]
            credit[:, : names.shape[1]] = node_advantages(scores, counted, names)
        return credit

    def _failures(self, answers: Answers) -> list[dict[str, Any]]:
        return [
            {"source": source, "reason": reason, "prompt": answers.prompt.messages, "completion": one.text}
            for one in answers.scored
            for source, reason in one.errors.items()
        ]

    def _figures(self, answers: list[Answers]) -> dict[str, float]:
        """Counted over every group sampled, so that what dynamic sampling leaves out is not left out of the means."""
        scores = [s for one in answers for s, keep in zip(one.scores, one.counted) if keep]
        mean = sum(scores) / max(1, len(scores))
        completions = [leaf.completion for one in answers for leaf in one.leaves]
        tokens = sum(len(completion.tokens) for completion in completions)
        figures = {
            "reward": mean,
            "reward_std": math.sqrt(sum((s - mean) ** 2 for s in scores) / max(1, len(scores))),
            "zero_variance_share": sum(not one.useful for one in answers) / len(answers),
            "groups_sampled": float(len(answers)),
            "response_length": tokens / len(completions),
            "eos_share": sum(completion.finished for completion in completions) / len(completions),
            "shared_tokens": sum(leaf.at for one in answers for leaf in one.leaves) / max(1, tokens),
            "reward_errors": float(sum(bool(one.errors) for group in answers for one in group.scored)),
        }
        for n, source in enumerate(self.sources):
            values = [
                one.scores[n] for group in answers for one, keep in zip(group.scored, group.counted) if keep
            ]  # those of the groups left out too
            name = f"reward_{source.name}" if source.name != "reward_model" else "rm_score"
            figures[name] = sum(values) / max(1, len(values))
        return figures
