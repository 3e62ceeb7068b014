"""The convolutional network over the blocks of a page, in numpy with the sums in C++'s order, as html_net.cpp."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_LIMIT, _SMALL = np.float32(4), np.float32(1e-5)
_FAR, _NEVER = 30.0, 1e-6
_TERMS = 14  # of power series
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")


def squash(x: Floats) -> Floats:
    """The sign of x and a logarithm to base 2 of 1 + |x|, straight between powers of two: exact, without libm."""
    above = (np.float32(1) + np.abs(x)).astype(np.float32)
    size = (above.view(np.int32) - np.int32(0x3F800000)).astype(np.float32) * np.float32(2.0**-23)
    return np.where(x < 0, -size, size)


def exponential(x: float) -> float:
    """e to the x in additions and products alone: libm's differ between machines in the last bit."""
    twos = math.floor(x * float.fromhex("0x1.71547652b82fep+0") + 0.5)
    rest = (x - twos * _LN2_HIGH) - twos * _LN2_LOW
    value = 0.0
    for k in reversed(range(_TERMS)):
        value = value * rest + 1 / math.factorial(k)
    return math.ldexp(value, twos)


def logarithm(x: float) -> float:
    """The natural logarithm of x > 0, likewise."""
    part, twos = math.frexp(x)
    if part < 0.7071067811865476:
        part, twos = part * 2, twos - 1
    t = (part - 1) / (part + 1)
    value = 0.0
    for k in reversed(range(_TERMS)):
        value = value * (t * t) + 1 / (2 * k + 1)
    return 2 * t * value + twos * 0.6931471805599453


class Net:
    """Takes the arrays of one network in a model file; `scores` gives one number per block."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.gaps: list[int] = np.asarray(arrays["gaps"]).tolist() if arrays else []
        self.arrays = {name: np.asarray(value, dtype=np.float32) for name, value in arrays.items() if name != "gaps"}

    def scores(self, x: Floats) -> list[float]:
        """Log-odds of the blocks of a page over all its readings, from features [blocks, inputs] in reading order."""
        if not len(x):
            return []
        a = self.arrays
        row = np.clip((squash(x) - a["mean"]) * a["scale"], -_LIMIT, _LIMIT)
        h = np.maximum(_multiply(row, a["input"], a["input_bias"]), np.float32(0))
        for layer, gap in enumerate(self.gaps):
            base = _multiply(_summary(h)[None], a["page"][layer], a["bias"][layer])
            h = h + self._normalised(_convolve(h, a["conv"][layer], base[0], gap), layer)
        gate = _linear(_summary(h)[None], a["gate"], a["gate_bias"])[0]
        most = max(gate)
        chances = [exponential(value - most) for value in gate]
        total = 0.0
        for chance in chances:  # not `sum`, which rounds otherwise since Python 3.12
            total += chance
        shares = [chance / total for chance in chances]
        return [_log_odds(readings, shares) for readings in _linear(h, a["output"], a["output_bias"])]

    def _normalised(self, z: Floats, layer: int) -> Floats:
        width = np.float32(z.shape[1])
        mean = np.cumsum(z, axis=1)[:, -1:] / width
        variance = np.cumsum((z - mean) * (z - mean), axis=1)[:, -1:] / width
        unit = np.float32(1) / np.sqrt(variance + _SMALL)
        value = (z - mean) * unit * self.arrays["gain"][layer] + self.arrays["shift"][layer]
        return np.maximum(value, np.float32(0))


def _multiply(x: Floats, weights: Floats, start: Floats) -> Floats:
    """`start` + x @ weights, added up row of weights by row of weights in single precision."""
    out = np.broadcast_to(start, (len(x), weights.shape[1])).copy()
    for k, row in enumerate(weights):
        out += x[:, k, None] * row
    return out


def _convolve(h: Floats, weights: Floats, base: Floats, gap: int) -> Floats:
    z = np.broadcast_to(base, h.shape).copy()
    near = min(gap, len(h))
    z[near:] = _multiply(h[: len(h) - near], weights[0], z[near:])
    z = _multiply(h, weights[1], z)
    z[: len(h) - near] = _multiply(h[near:], weights[2], z[: len(h) - near])
    return z


def _summary(h: Floats) -> Floats:
    """Means and maxima of each column."""
    return np.concatenate([np.cumsum(h, axis=0)[-1] / np.float32(len(h)), h.max(axis=0)])


def _linear(x: Floats, weights: Floats, bias: Floats) -> list[list[float]]:
    """`bias` + x @ weights: products in single precision, sums in double."""
    out = np.broadcast_to(bias.astype(np.float64), (len(x), len(bias))).copy()
    for k, row in enumerate(weights):
        out += (x[:, k, None] * row).astype(np.float64)
    rows: list[list[float]] = out.tolist()
    return rows


def _log_odds(readings: list[float], shares: list[float]) -> float:
    """Of a block, from its score in each reading of the page and the chances of the readings."""
    chance = 0.0
    for score, share in zip(readings, shares, strict=True):
        chance += share / (1 + exponential(-min(max(score, -_FAR), _FAR)))
    return logarithm((chance + _NEVER) / (1 - chance + _NEVER))
