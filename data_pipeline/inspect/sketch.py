"""Summaries of streams in bounded memory: distributions, the most frequent keys, the number of distinct keys."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import xxhash

_ACCURACY = 0.01
_LOG_GAMMA = math.log((1 + _ACCURACY) / (1 - _ACCURACY))
_SMALLEST = 1e-9


class Distribution:
    """Quantiles of numbers to a relative error of 1%, in a few kilobytes (DDSketch, Masson, Rim and Lee 2019).

    Of numbers that are all whole, such as words and sentences, so are the quantiles.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.least, self.most = math.inf, -math.inf
        self._whole = True
        self._buckets: dict[tuple[int, int], int] = {}
        """(sign, logarithmic bucket of the magnitude) -> how many."""

    def add(self, values: np.ndarray) -> None:
        """Count float [N] values; NaN are left out."""
        values = np.asarray(values, dtype=np.float64)
        values = values[np.isfinite(values)]
        if not len(values):
            return
        self.count += len(values)
        self.total += float(values.sum())
        self._whole = self._whole and bool((values == np.round(values)).all())
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))
        signs = np.where(np.abs(values) < _SMALLEST, 0, np.sign(values)).astype(np.int64)
        logs = np.ceil(np.log(np.maximum(np.abs(values), _SMALLEST)) / _LOG_GAMMA).astype(np.int64)
        pairs, counts = np.unique(np.stack([signs, np.where(signs == 0, 0, logs)]), axis=1, return_counts=True)
        for sign, bucket, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
            self._buckets[sign, bucket] = self._buckets.get((sign, bucket), 0) + count

    def quantile(self, share: float) -> float:
        """The value below which `share` of the numbers lie."""
        if not self.count:
            return math.nan
        wanted, seen = share * (self.count - 1), 0
        for value, count in self._ordered():
            seen += count
            if seen > wanted:
                return min(max(value, self.least), self.most)
        return self.most

    def histogram(self, bins: int = 20) -> list[dict[str, float]]:
        """`from`, `to`, `count` of up to `bins` classes: of equal width within [0, 1], else of equal ratio."""
        if not self.count:
            return []
        if self.least >= 0 and self.most <= 1:
            edges = np.linspace(0, 1, bins + 1)
        elif self.least > 0:
            edges = np.geomspace(self.least, max(self.most, self.least * 1.001), bins + 1)
        else:
            edges = np.linspace(self.least, max(self.most, self.least + 1e-9), bins + 1)
        counts = np.zeros(bins, dtype=np.int64)
        for value, count in self._ordered():
            place = int(np.searchsorted(edges, min(max(value, self.least), self.most), side="right")) - 1
            counts[min(max(place, 0), bins - 1)] += count
        rows = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
        return [{"from": low, "to": high, "count": count} for low, high, count in rows]

    def to_dict(self, bins: int = 20) -> dict[str, Any]:
        """count, mean, least, most, quantiles and histogram; empty where nothing was counted."""
        if not self.count:
            return {"count": 0}
        shares = {"p1": 0.01, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
        quantiles = {name: self.quantile(share) for name, share in shares.items()}
        mean = self.total / self.count
        ends = {"count": self.count, "mean": mean, "least": self.least, "most": self.most}
        return {**ends, **quantiles, "histogram": self.histogram(bins)}

    def _ordered(self) -> list[tuple[float, int]]:
        made = []
        for (sign, bucket), count in self._buckets.items():
            value = sign * 2 * math.exp(bucket * _LOG_GAMMA) / (math.exp(_LOG_GAMMA) + 1)
            made.append((float(round(value)) if self._whole else value, count))
        return sorted(made)


class TopKeys:
    """Sums of several numbers for each of the most frequent keys, in memory for 2 `capacity` keys.

    Exact while there are no more keys than that. Beyond, the rarest are forgotten (Misra and Gries 1982, in batches):
    the first number of a key may then be too low by at most `error`, and every key whose true number is above it is
    here.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self.capacity, self.width = capacity, width
        self.error = 0
        self.forgotten = False
        self._sums: dict[str, list[int]] = {}

    def add(self, key: str, numbers: Iterable[int]) -> None:
        """Add `numbers` to the sums of `key`; they go by the first."""
        sums = self._sums.setdefault(key, [0] * self.width)
        for index, number in enumerate(numbers):
            sums[index] += number
        if len(self._sums) > 2 * self.capacity:
            self._forget()

    def _forget(self) -> None:
        counts = sorted((sums[0] for sums in self._sums.values()), reverse=True)
        cut = counts[self.capacity]
        self.error += cut
        self.forgotten = True
        left = {}
        for key, sums in self._sums.items():
            if sums[0] > cut:
                sums[0] -= cut
                left[key] = sums
        self._sums = left

    def most(self, count: int) -> list[tuple[str, list[int]]]:
        """The keys of the largest first numbers, ties by name; lower bounds where keys were forgotten."""
        ordered = sorted(self._sums.items(), key=lambda item: (-item[1][0], item[0]))
        return ordered[:count]

    def __len__(self) -> int:
        return len(self._sums)


class Distinct:
    """Estimates how many different keys there were from the smallest hashes (Bar-Yossef et al. 2002); exact for few.

    The standard error of the estimate is 1.6% with the 4096 hashes kept.
    """

    def __init__(self, size: int = 4096) -> None:
        self.size = size
        self._smallest: set[int] = set()
        self._largest = 1 << 64

    def add(self, key: str) -> None:
        """Count `key`."""
        value = xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"))
        if value < self._largest:
            self._smallest.add(value)
            if len(self._smallest) > 2 * self.size:
                self._smallest = set(sorted(self._smallest)[: self.size])
                self._largest = max(self._smallest)

    def estimate(self) -> int:
        """The number of different keys."""
        if self._largest == 1 << 64:
            return len(self._smallest)
        smallest = sorted(self._smallest)[: self.size]
        return round((self.size - 1) * 2**64 / smallest[-1])
