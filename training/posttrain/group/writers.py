"""What writes the completions of a group: independent chains, or trees whose branches share prefixes.

Everything that is random is a pure function of (seed, number of the draw, place in it), so a group is the same whatever
shares its batch and however many processes take part.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from millbase.errors import ConfigError
from millbase.seeds import derive_seed
from training.posttrain.group.config import GroupConfig
from training.posttrain.group.options import TreeConfig
from training.posttrain.ppo.engines import Sampler
from training.posttrain.ppo.models import Policy
from training.posttrain.ppo.sampling import Completion, sample


@dataclass(frozen=True)
class Leaf:
    """One completion of a group, and where it grew."""

    completion: Completion
    tree: int
    """Which of the group's trees it hangs on; independent completions are trees of their own."""
    parent: int | None = None
    """Which completion of the group it branches from; None for a trunk."""
    at: int = 0
    """Tokens it shares with its parent."""


class Writer(Protocol):
    """Writes the groups of a draw."""

    def write(self, number: int, prompts: list[list[int]], places: list[int], total: int) -> list[list[Leaf]]:
        """A group for each of `prompts` (token ids), which are groups `places` of the `total` of draw `number`."""
        ...


def make_writer(config: GroupConfig, sampler: Sampler, policy: Policy, tokenizer: Any, max_length: int) -> Writer:
    """The writer that the configuration names."""
    if config.tree is None:
        return ChainWriter(config.samples_per_prompt, sampler)
    return TreeWriter(config, config.tree, sampler, policy, tokenizer, max_length)


class ChainWriter:
    """Independent completions."""

    def __init__(self, size: int, sampler: Sampler) -> None:
        self.size, self.sampler = size, sampler

    def write(self, number: int, prompts: list[list[int]], places: list[int], total: int) -> list[list[Leaf]]:
        """As `Writer` says."""
        size = self.size
        rows = [place * size + k for place in places for k in range(size)]
        drawn = self.sampler.draw(number, [prompt for prompt in prompts for _ in range(size)], rows, total * size)
        return [[Leaf(drawn[i * size + k], k) for k in range(size)] for i in range(len(prompts))]


class TreeWriter:
    """Trunks, then rounds in which every tree grows branches from randomly drawn nodes (Ji et al. 2025, section 3.2).

    A node is the end of a step of a completion, the last step aside. A tree without one grows from the prompt.
    """

    def __init__(
        self, config: GroupConfig, tree: TreeConfig, sampler: Sampler, policy: Policy, tokenizer: Any, max_length: int
    ) -> None:
        self.config, self.tree, self.sampler, self.policy = config, tree, sampler, policy
        self.max_length = max_length
        self.step_ends = set() if tree.step_tokens else _tokens_with(tokenizer, tree.step)

    def write(self, number: int, prompts: list[list[int]], places: list[int], total: int) -> list[list[Leaf]]:
        """As `Writer` says."""
        tree, size = self.tree, self.config.samples_per_prompt
        trunks = [prompt for prompt in prompts for _ in range(tree.trees)]
        rows = [place * size + k for place in places for k in range(tree.trees)]
        drawn = self.sampler.draw(number, trunks, rows, total * size)
        groups = [[Leaf(drawn[i * tree.trees + k], k) for k in range(tree.trees)] for i in range(len(prompts))]
        for turn in range(tree.rounds):
            chosen = [
                self._choose(group, number, place, turn) for group, place in zip(groups, places, strict=True)
            ]  # per group: (completion to branch from, tokens kept)
            self._expand(number, turn, prompts, places, total, groups, chosen)
        return groups

    def _choose(self, group: list[Leaf], number: int, place: int, turn: int) -> list[tuple[int, int]]:
        """The nodes of a group to grow from: `expansions` of each tree."""
        chosen: list[tuple[int, int]] = []
        for tree in range(self.tree.trees):
            # a node that a branch shares with its parent is the parent's
            nodes = [
                (i, end)
                for i, leaf in enumerate(group)
                if leaf.tree == tree
                for end in self.ends(leaf.completion.tokens)
                if end > leaf.at
            ] or [(tree, 0)]
            pick = random.Random(derive_seed(self.config.seed, "nodes", number, place, tree, turn))
            count = self.tree.expansions
            chosen += pick.sample(nodes, count) if len(nodes) >= count else pick.choices(nodes, k=count)
        return chosen

    def ends(self, tokens: list[int]) -> list[int]:
        """Where the steps of a completion end, as numbers of tokens; the last step's end is no node."""
        every = self.tree.step_tokens
        if every is not None:
            return list(range(every, len(tokens), every))
        return [i + 1 for i, token in enumerate(tokens[:-1]) if token in self.step_ends]

    def _expand(
        self,
        number: int,
        turn: int,
        prompts: list[list[int]],
        places: list[int],
        total: int,
        groups: list[list[Leaf]],
        chosen: list[list[tuple[int, int]]],
    ) -> None:
        """Write the rest of a completion from every chosen node, and add the new completions to their groups."""
        size = self.config.samples_per_prompt
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "branches", number, turn))
        noise = torch.rand(total * size, self.config.max_new_tokens, dtype=torch.float64, generator=generator)
        jobs = [
            (group, parent, at, place * size + len(group) + k, prompt + group[parent].completion.tokens[:at])
            for group, nodes, place, prompt in zip(groups, chosen, places, prompts, strict=True)
            for k, (parent, at) in enumerate(nodes)
        ]
        limits = [self.config.max_new_tokens - at for _, _, at, _, _ in jobs]
        written: dict[int, Completion] = {}
        for part in self._batches([len(job[4]) for job in jobs], limits):
            width = max(limits[i] for i in part)
            uniforms = noise[[jobs[i][3] for i in part], :width]
            batch = [jobs[i][4] for i in part]
            temperature = self.config.temperature
            completions = sample(self.policy, batch, uniforms, temperature, self.config.sampling_batch_size)
            written.update(zip(part, completions, strict=True))
        for i, (group, parent, at, _, _) in enumerate(jobs):
            trunk = group[parent]
            group.append(Leaf(_join(trunk.completion, at, written[i], limits[i]), trunk.tree, parent, at))

    def _batches(self, lengths: list[int], limits: list[int]) -> list[list[int]]:
        """Rows that are written together: one limit holds for a batch, and nobody may outgrow the model's positions."""
        batches: list[list[int]] = []
        for i in sorted(range(len(lengths)), key=lambda i: (limits[i], lengths[i], i)):
            together = [*(batches[-1] if batches else []), i]
            fits = max(lengths[j] for j in together) + max(limits[j] for j in together) <= self.max_length
            if batches and fits:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches


def _join(trunk: Completion, at: int, rest: Completion, limit: int) -> Completion:
    """The trunk's first `at` tokens and at most `limit` of the rest."""
    tokens, logps = rest.tokens[:limit], rest.logps[:limit]
    finished = rest.finished and len(rest.tokens) <= limit
    return Completion(trunk.tokens[:at] + tokens, trunk.logps[:at] + logps, finished)


def _tokens_with(tokenizer: Any, text: str) -> set[int]:
    """The ids of all tokens with `text` in them. ConfigError when there is none."""
    ids = range(len(tokenizer))
    found = {i for i, token in zip(ids, tokenizer.batch_decode([[i] for i in ids]), strict=True) if text in token}
    if not found:
        raise ConfigError(f"tree.step = {text!r} occurs in no token; give a shorter text, or set tree.step_tokens")
    return found


def origins(group: list[Leaf]) -> torch.Tensor:
    """[G, T] names of the sampled tokens of a group's completions, -1 behind their ends: a token that a branch took
    over from its parent has the name it has there."""
    width = max(len(leaf.completion.tokens) for leaf in group)
    names = torch.full((len(group), width), -1, dtype=torch.long)
    for i, leaf in enumerate(group):
        length = len(leaf.completion.tokens)
        names[i, :length] = torch.arange(i * width, i * width + length)
        if leaf.parent is not None:
            names[i, : leaf.at] = names[leaf.parent, : leaf.at]
    return names
