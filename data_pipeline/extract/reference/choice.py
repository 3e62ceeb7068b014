"""From scores of blocks to the blocks that make the text, as html_choice.cpp."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from data_pipeline.extract.reference.features import Analysis, hashed_words
from data_pipeline.extract.reference.page import Page
from data_pipeline.extract.reference.tags import FNV, fnv

_LONG, _RUN, _REPEAT_WORDS, _REPEATED = 12, 4, 2000, 0.8
_WHOLE, _RETOLD = 60, 0.7
_MONOTONE = 0.6


class Decision:
    """The blocks that maximise the expected F1 of words, tables whole, without those that repeat better ones."""

    def __init__(self, probabilities: NDArray[np.float32], low: float) -> None:
        self.probabilities = probabilities.astype(np.float64).tolist()
        self.low = low

    def probability(self, score: float) -> float:
        """The chance that a block of this score is main text."""
        place = (min(max(score, -8.0), 8.0) + 8.0) * 4.0
        below = min(int(place), len(self.probabilities) - 2)
        share = place - below
        return float(self.probabilities[below] * (1 - share) + self.probabilities[below + 1] * share)

    def choose(self, page: Page, a: Analysis, scores: list[float]) -> list[bool]:
        """True for each block that is taken."""
        scores = _even_tables(page, a, scores)
        ranked, copies = self._ranked(page, a, scores)
        words = [t.words for t in a.stats]
        wanted = 0.0
        for i, score in enumerate(scores):
            if i not in copies:
                wanted += self.probability(score) * words[i]
        taken, hits, best, chosen = 0.0, 0.0, -1.0, 0
        for k, i in enumerate(ranked):
            taken += words[i]
            hits += self.probability(scores[i]) * words[i]
            f1 = 2 * hits / (taken + wanted) if taken + wanted > 0 else 0.0
            if f1 > best:
                best, chosen = f1, k + 1
        kept = set(ranked[:chosen])
        return [i in kept for i in range(len(scores))]

    def _ranked(self, page: Page, a: Analysis, scores: list[float]) -> tuple[list[int], set[int]]:
        """Blocks to choose from, the best first; and those that repeat what better ones say."""
        ranked: list[int] = []
        copies, said = set[int](), set[int]()
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        order = list(takewhile(lambda i: self.probability(scores[i]) >= self.low, order))
        allowed = _monotone(a, order)
        words = {i: hashed_words(page.blocks[i].text, _REPEAT_WORDS, same_digits=False) for i in order}
        runs = {i: [_run_hash(found[k : k + _RUN]) for k in range(len(found) - _RUN + 1)] for i, found in words.items()}
        whole = set() if allowed else _wholes(order, words, runs, scores)
        for i in order:
            known = sum(run in said for run in runs[i])
            repeats = len(words[i]) >= _LONG and known >= _REPEATED * len(runs[i])
            if i in whole or (repeats and a.stats[i].hash not in allowed):
                copies.add(i)
            else:
                said.update(runs[i])
                ranked.append(i)
        return ranked, copies


def _even_tables(page: Page, a: Analysis, scores: list[float]) -> list[float]:
    """Scores with one, the mean weighed by words, for all blocks of a table of data: half a table says nothing."""
    out = list(scores)
    for node in page.nodes:
        if node.data_table:
            weight = total = 0.0
            for k in range(node.first, node.last):
                weight += a.stats[k].words + 1
                total += scores[k] * (a.stats[k].words + 1)
            for k in range(node.first, node.last):
                out[k] = total / weight
    return out


def _wholes(
    candidates: list[int], words: dict[int, list[int]], runs: dict[int, list[int]], scores: list[float]
) -> set[int]:
    """Candidates that hold in one block what likely ones tell in pieces: an article without its paragraphs."""
    shortest: dict[int, int] = {}
    for i in candidates:
        if scores[i] >= 0:
            for run in runs[i]:
                shortest[run] = min(shortest.get(run, len(words[i])), len(words[i]))
    found = set[int]()
    for i in candidates:
        size = len(words[i])
        told = sum(run in shortest and 2 * shortest[run] <= size for run in runs[i])
        if size >= _WHOLE and told >= _RETOLD * len(runs[i]):
            found.add(i)
    return found


def _monotone(a: Analysis, candidates: list[int]) -> set[int]:
    """Texts that may repeat: those of a page most of which is the same few long blocks again and again."""
    count = Counter(t.hash for t in a.stats)
    every = alike = 0.0
    for i in candidates:
        every += a.stats[i].words
        if count[a.stats[i].hash] >= 3 and a.stats[i].words >= _LONG:
            alike += a.stats[i].words
    return {text for text, copies in count.items() if copies >= 3} if alike > _MONOTONE * every else set()


def _run_hash(words: list[int]) -> int:
    hash_ = FNV
    for word in words:
        hash_ = fnv(hash_, word)
    return hash_
