"""Which source a sequence number belongs to, in closed form: shares hold at every position, not only on average.

The weights of a stretch of training are whole numbers w_1 .. w_S that sum to D. Its first D places are dealt out by
Tijdeman's rule ("The chairman assignment problem", Discrete Mathematics 32, 1980): after every m places, source i has
had m * w_i / D of them, give or take 1 - 1 / (2S - 2). After D places the counts are exact, so these D places repeat.
So place k of a stretch, and the number of places of each source before it, need one division and one table look-up.

A stretch ends where the schedule changes the weights or a source has used up its epochs. Its places depend on its start
and its weights only: what happens after a position never moves anything before it, and neither do sources of weight 0.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from millbase.errors import InputError

PARTS = 100_000
"""Largest D: weights whose ratios need a larger one are rounded to this many parts."""


def whole_weights(weights: Mapping[str, float]) -> dict[str, int]:
    """Positive weights as whole numbers in the same ratio without a common divisor; zero weights are left out.

    Decimals are taken as written (0.1 is one tenth). Where the sum would exceed `PARTS`, shares are rounded to parts of
    `PARTS` by largest remainder, at least one each.
    """
    exact = {key: Fraction(repr(float(weight))) for key, weight in weights.items() if weight > 0}
    if not exact:
        return {}
    total = sum(exact.values())
    shares = {key: value / total for key, value in sorted(exact.items())}
    parts = math.lcm(*(share.denominator for share in shares.values()))
    if parts > PARTS:
        floors = {key: max(1, math.floor(share * PARTS)) for key, share in shares.items()}
        spare = PARTS - sum(floors.values())
        order = sorted(shares, key=lambda key: (floors[key] - shares[key] * PARTS, key))
        for key in order[: max(0, spare)]:
            floors[key] += 1
        counts = floors
    else:
        counts = {key: int(share * parts) for key, share in shares.items()}
    divisor = math.gcd(*counts.values())
    return {key: count // divisor for key, count in counts.items()}


@dataclass(frozen=True)
class _Table:
    """One period of D places over sources numbered as in the stretch's weights."""

    source: np.ndarray
    """Source of each place, `[D]` int32."""
    before: np.ndarray
    """Places of the same source before each place, `[D]` int64."""
    places: tuple[np.ndarray, ...]
    """For each source its places, ascending."""


@lru_cache(maxsize=32)
def deal(weights: tuple[int, ...]) -> _Table:
    """Tijdeman's sequence for whole weights; equal claims go to the source that stands first."""
    total, count = sum(weights), len(weights)
    had = [0] * count
    dealt = np.empty(total, np.int32)
    before = np.empty(total, np.int64)
    slack = max(1, 2 * count - 2)
    for place in range(total):
        # a source may have its next place once its claim m * w - had reaches 1 / (2S - 2); nearest deadline first
        ready = (i for i in range(count) if ((place + 1) * weights[i] - had[i] * total) * slack >= total)
        chosen = min(ready, key=lambda i: (((had[i] + 1) * slack - 1) / weights[i], i))
        dealt[place], before[place] = chosen, had[chosen]
        had[chosen] += 1
    assert tuple(had) == weights, "a period ends with exact counts"
    return _Table(dealt, before, tuple(np.flatnonzero(dealt == i) for i in range(count)))


@dataclass(frozen=True)
class Stretch:
    """Consecutive sequence numbers under one set of weights."""

    start: int
    length: int
    """Tokens of a sequence."""
    weights: dict[str, int]
    """Whole weights by key, in the order of the keys."""
    counts: dict[str, int]
    """Sequences of each key before `start`."""
    tokens: dict[str, int]
    """Tokens of each key trained on before `start`."""

    @property
    def table(self) -> _Table:
        """Its period."""
        return deal(tuple(self.weights.values()))

    def dealt(self, places: int) -> dict[str, int]:
        """Places of each key among the first `places` of the stretch."""
        if not self.weights:
            return {}
        periods, rest = divmod(places, sum(self.weights.values()))
        table = self.table
        return {
            key: periods * weight + int(np.searchsorted(table.places[i], rest))
            for i, (key, weight) in enumerate(self.weights.items())
        }

    def place_of(self, key: str, number: int) -> int:
        """The place in the stretch where `key` comes up for the time number `number` (from 0)."""
        index, weight = list(self.weights).index(key), self.weights[key]
        return number // weight * sum(self.weights.values()) + int(self.table.places[index][number % weight])


class Blend:
    """Deals the sequence numbers out over sources."""

    def __init__(
        self,
        phases: Sequence[tuple[int, Mapping[str, float]]],
        lengths: Sequence[tuple[int, int]],
        token_limits: Mapping[str, int],
    ) -> None:
        """Everything is known by the sources' keys, whose order breaks ties.

        Args:
            phases: (first sequence, weight of every key), ascending, the first at 0.
            lengths: (first sequence, tokens of a sequence) of each stage, ascending, the first at 0.
            token_limits: most tokens to take of a key.
        """
        assert phases[0][0] == 0 == lengths[0][0], "phases and lengths begin at sequence 0"
        self._phases, self._lengths, self._limits = list(phases), list(lengths), dict(token_limits)
        nothing = dict.fromkeys(sorted(phases[0][1]), 0)
        self._stretches = [self._stretch(0, nothing, nothing)]
        self._complete = False

    def locate(self, sequence: int) -> tuple[str, int]:
        """(key of the source, number of the sequence within the source). InputError when all sources are used up."""
        stretch = self._containing(sequence)
        if not stretch.weights:
            raise InputError(
                f"every source has used up its max_epochs before sequence {sequence} (after {stretch.start}); "
                "raise max_epochs, add a source or lower steps"
            )
        periods, rest = divmod(sequence - stretch.start, sum(stretch.weights.values()))
        table = stretch.table
        index = int(table.source[rest])
        key = list(stretch.weights)[index]
        return key, stretch.counts[key] + periods * stretch.weights[key] + int(table.before[rest])

    def counts(self, sequence: int) -> dict[str, int]:
        """Sequences of each key among those numbered below `sequence`."""
        stretch = self._containing(sequence)
        dealt = stretch.dealt(sequence - stretch.start)
        return {key: count + dealt.get(key, 0) for key, count in stretch.counts.items()}

    def past(self, sequence: int) -> list[list[object]]:
        """What decides the sequences numbered below `sequence`, as JSON: `[[start, length, {key: weight}], ...]`."""
        if sequence > 0:
            self._containing(sequence - 1)
        return [[s.start, s.length, s.weights] for s in self._stretches if s.start < sequence]

    def _containing(self, sequence: int) -> Stretch:
        while not self._complete and self._stretches[-1].start <= sequence:
            self._extend()
        starts = [stretch.start for stretch in self._stretches]
        return self._stretches[bisect.bisect_right(starts, sequence) - 1]

    def _stretch(self, start: int, counts: dict[str, int], tokens: dict[str, int]) -> Stretch:
        length = next(length for first, length in reversed(self._lengths) if first <= start)
        phase = next(weights for first, weights in reversed(self._phases) if first <= start)
        open_ = {key: w for key, w in phase.items() if self._left(key, tokens, length) != 0}
        return Stretch(start, length, dict(sorted(whole_weights(open_).items())), counts, tokens)

    def _left(self, key: str, tokens: Mapping[str, int], length: int) -> int | None:
        """Whole sequences that may still be taken of a key; None without a limit."""
        limit = self._limits.get(key)
        return None if limit is None else max(0, (limit - tokens[key]) // length)

    def _extend(self) -> None:
        """Find where the last known stretch ends and append the one after it."""
        last = self._stretches[-1]
        ends = [first for first, _ in (*self._phases, *self._lengths) if first > last.start]
        for key in last.weights:
            left = self._left(key, last.tokens, last.length)
            if left is not None:
                ends.append(last.start + last.place_of(key, left - 1) + 1)
        for end in sorted(set(ends)):
            dealt = last.dealt(end - last.start)
            counts = {key: count + dealt.get(key, 0) for key, count in last.counts.items()}
            tokens = {key: count + dealt.get(key, 0) * last.length for key, count in last.tokens.items()}
            after = self._stretch(end, counts, tokens)
            # a phase that changes nothing must not begin the period anew
            if (after.weights, after.length) != (last.weights, last.length):
                self._stretches.append(after)
                return
        self._complete = True
