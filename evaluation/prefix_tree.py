"""What sequences share: a plan that feeds every common prefix to the model once. No torch here, and no model.

Rows of one call share in two ways. The choices of a question begin with the question: such rows are laid out as one
packed sequence, a tree whose nodes see only the tokens before them (tree attention; Cai et al. 2024, "Medusa", 2.3.1).
And all questions of a task may begin with the same worked examples: that head is computed once, and the packed
sequences go on from its keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

HEAD_ROWS = 16
"""Fewest rows that share a head: more than a question has choices, for choices are packed instead."""
HEAD_TOKENS = 16
"""Shortest head: below it, carrying keys and values along costs more than it saves."""
MAX_PACK = 4096
"""Most nodes of a packed sequence: its attention mask is quadratic in them."""


@dataclass(frozen=True)
class Row:
    """A sequence to score."""

    inputs: tuple[int, ...]
    """What the model reads."""
    scored: int
    """The predictions of this many last inputs are scored."""

    @property
    def first(self) -> int:
        """Index of the first input whose prediction is scored."""
        return len(self.inputs) - self.scored


@dataclass
class Pack:
    """Several rows as one sequence of the distinct nodes of their tree; those of the head are left out."""

    tokens: list[int] = field(default_factory=list)
    """One token per node."""
    positions: list[int] = field(default_factory=list)
    """Place of each node in its row, the head counted."""
    branches: list[tuple[int, int, np.ndarray]] = field(default_factory=list)
    """`(first node, end node, nodes before them)` of each unbranched run of nodes."""
    scored: list[tuple[int, list[int]]] = field(default_factory=list)
    """`(row, nodes whose predictions are scored)`, in the order of the row's tokens."""

    @property
    def is_chain(self) -> bool:
        """No branches: plain causal attention will do."""
        return len(self.branches) == 1

    def visible(self, width: int) -> np.ndarray:
        """`[width, width]`: may the node of a row of the matrix see that of a column? Padding sees itself alone."""
        seen = np.eye(width, dtype=bool)
        for start, end, before in self.branches:
            seen[start:end, start:end] |= np.tri(end - start, dtype=bool)
            seen[start:end, before] = True
        return seen


@dataclass(frozen=True)
class Family:
    """Packs that go on from one head."""

    head: tuple[int, ...]
    packs: list[Pack]


def plan(rows: Sequence[Row], keys_per_token: float) -> list[Family]:
    """Lay out the rows so that what they share is computed once; a function of the rows alone, not of their order.

    Args:
        rows: what to score; the indices in `Pack.scored` count them.
        keys_per_token: how many keys can be attended to for the price of one token's passage through the layers.
            A branch joins a pack when the tokens it shares cost more than the masked attention it adds.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i].inputs, i))
    arrays = [np.asarray(rows[i].inputs, dtype=np.int64) for i in order]
    shared = [0] + [_common(a, b) for a, b in pairwise(arrays)]
    first = [rows[i].first for i in order]
    families = []
    for members, depth in _heads(shared, first):
        head = rows[order[members[0]]].inputs[:depth]
        families.append(Family(head, _packs(rows, order, shared, members, depth, keys_per_token)))
    return families


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the common prefix."""
    size = min(len(a), len(b))
    different = a[:size] != b[:size]
    return int(different.argmax()) if different.any() else size


def _heads(shared: list[int], first: list[int]) -> list[tuple[list[int], int]]:
    """Split sorted rows into `(positions, length of their head)`, saving as many tokens as heads can."""
    depths = np.asarray(shared)
    limits = np.asarray(first)

    def best(start: int, end: int, nested: int) -> tuple[int, list[tuple[list[int], int]]]:
        everyone = list(range(start, end))
        if end - start < HEAD_ROWS:
            return 0, [(everyone, 0)]
        common = int(depths[start + 1 : end].min())
        # a head holds no scored prediction, so it needs no logits
        depth = min(common, int(limits[start:end].min()))
        own = depth * (end - start - 1) if depth >= HEAD_TOKENS else 0
        whole = (own, [(everyone, depth if own else 0)])
        if nested > 40:  # only rows that are prefixes of one another split so often
            return whole
        cuts = [start, *(start + 1 + np.flatnonzero(depths[start + 1 : end] == common)).tolist(), end]
        saved, parts, rest = 0, [], []
        for a, b in pairwise(cuts):
            value, found = best(a, b, nested + 1)
            if value:
                saved += value
                parts += found
            else:
                rest += list(range(a, b))
        if rest:
            parts.append((rest, depth if own and len(rest) >= HEAD_ROWS else 0))
        return (saved, parts) if saved > own else whole

    return best(0, len(shared), 0)[1] if shared else []


def _packs(
    rows: Sequence[Row], order: list[int], shared: list[int], members: list[int], head: int, keys_per_token: float
) -> list[Pack]:
    packs: list[Pack] = []
    path = np.empty(0, dtype=np.int64)  # nodes of the last row, after the head
    previous = -2
    for place in members:
        row = rows[order[place]]
        size = len(row.inputs) - head
        kept = shared[place] - head if previous == place - 1 else 0
        fresh = size - kept
        nodes = len(packs[-1].tokens) if packs else 0
        joins = kept > 0 and nodes + fresh <= MAX_PACK and fresh * nodes <= kept * keys_per_token
        if not joins:
            packs.append(Pack())
            kept, fresh, nodes = 0, size, 0
        pack = packs[-1]
        if fresh:
            pack.branches.append((nodes, nodes + fresh, path[:kept].copy() if joins else np.empty(0, dtype=np.int64)))
            pack.tokens += row.inputs[head + kept :]
            pack.positions += range(head + kept, head + size)
        path = np.concatenate([path[:kept], np.arange(nodes, nodes + fresh)])
        pack.scored.append((order[place], path[row.first - head :].tolist()))
        previous = place
    return packs
