"""N-gram models with interpolated modified Kneser-Ney smoothing, written as ARPA files.

The formulas are those of Chen and Goodman (1998, section 4.1.6) as Heafield et al. (2013, section 3) state them and
lmplz computes them:

    p(w | h) = max(a(hw) - D(a(hw)), 0) / sum_x a(hx) + b(h) p(w | h')        h' is h without its first word
    b(h)     = sum_x D(a(hx)) / sum_x a(hx)

where a is the count for the longest n-grams and those that start a sentence, elsewhere the number of different words
seen before the n-gram; D takes one of three values an order, estimated from how many n-grams have a = 1, 2, 3, 4.
Unigrams are interpolated with the uniform distribution over the vocabulary. A pruned n-gram gives all of its mass to
b(h), so every distribution still sums to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from millbase.atomic import atomic_write
from millbase.errors import InputError

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
_RESERVED = (UNKNOWN, START, END)
_FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where too little text leaves them undefined; lmplz's --discount_fallback."""


@dataclass
class Order:
    """All U different n-grams of one length; every array has length U."""

    word: np.ndarray
    """int64 last word."""
    prefix: np.ndarray
    """int64 the n-gram without its last word, as a row of the order below."""
    suffix: np.ndarray
    """int64 the n-gram without its first word, likewise."""
    count: np.ndarray
    """int64 occurrences."""
    adjusted: np.ndarray
    """int64 what stands for the count in the formulas."""
    kept: np.ndarray
    """bool, False for pruned n-grams."""
    probability: np.ndarray
    """float64 p(last word | the words before)."""
    backoff: np.ndarray
    """float64 b of the n-gram as a context."""


@dataclass
class Model:
    """A trained model."""

    vocabulary: list[str]
    """Words by number; `<unk>`, `<s>` and `</s>` first."""
    orders: list[Order]
    """From unigrams up; row w of the unigrams is word w."""


def train(lines: Iterable[str], order: int, prune: Sequence[int] = (0,)) -> Model:
    """The model of `lines`, one sentence or document each, tokens between blanks.

    N-grams of n words that occur at most `prune[n - 1]` times (the last entry holds for longer ones) are left out.
    Raises InputError when there is no token.
    """
    vocabulary, words, position = _read(lines)
    orders = _count(words, position, len(vocabulary), order)
    for n, this in enumerate(orders, 1):
        this.kept = this.count > prune[min(n, len(prune)) - 1]
        if n < len(orders):
            before = np.bincount(orders[n].suffix, minlength=len(this.count))
            this.adjusted = np.where(before > 0, before, this.count)  # nothing stands before the start of a sentence
    orders[0].kept[:] = True
    _unigrams(orders[0])
    for below, this in pairwise(orders):
        _interpolate(below, this)
    return Model(vocabulary, orders)


def _read(lines: Iterable[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(words by number, int64 [T] all tokens with the marks of start and end, int64 [T] position of each in its
    line)."""
    numbers = {word: number for number, word in enumerate(_RESERVED)}
    words: list[np.ndarray] = []
    for line in lines:
        tokens = [token for token in line.split(" ") if token and token not in _RESERVED]
        if tokens:
            ids = [numbers.setdefault(token, len(numbers)) for token in tokens]
            words.append(np.array([1, *ids, 2], dtype=np.int64))
    if not words:
        raise InputError("no text to train an n-gram model on: every line is empty; check 'texts'")
    position = np.concatenate([np.arange(len(line)) for line in words])
    return list(numbers), np.concatenate(words), position


def _count(words: np.ndarray, position: np.ndarray, vocabulary: int, order: int) -> list[Order]:
    """The different n-grams of every order; an n-gram is found as the pair of its prefix's row and its last word."""
    counts = np.bincount(words, minlength=vocabulary)
    none = np.zeros(vocabulary, dtype=np.int64)
    orders = [_order(np.arange(vocabulary), none, none, counts)]
    rows = words  # row of the n-gram that ends at each token
    for n in range(2, order + 1):
        ends = np.flatnonzero(position >= n - 1)
        if not len(ends):
            break  # no line is that long
        keys = rows[ends - 1] * vocabulary + words[ends]
        unique, first, inverse, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        orders.append(_order(unique % vocabulary, unique // vocabulary, rows[ends[first]], count))
        rows = np.full(len(words), -1, dtype=np.int64)
        rows[ends] = inverse
    return orders


def _order(word: np.ndarray, prefix: np.ndarray, suffix: np.ndarray, count: np.ndarray) -> Order:
    size = len(count)
    kept, ones = np.ones(size, dtype=bool), np.ones(size)
    return Order(word, prefix, suffix, count, count.copy(), kept, np.zeros(size), ones)


def discounts(adjusted: np.ndarray) -> np.ndarray:
    """float64 [4] D for a = 0, 1, 2, and 3 or more (Chen and Goodman 1998, equation 26)."""
    n1, n2, n3, n4 = (int((adjusted == value).sum()) for value in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return np.array([0.0, *_FALLBACK])
    y = n1 / (n1 + 2 * n2)
    values = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    usable = all(0 <= value <= limit for value, limit in zip(values, (1, 2, 3), strict=True))
    return np.array([0.0, *(values if usable else _FALLBACK)])


def _unigrams(this: Order) -> None:
    this.adjusted[[0, 1]] = 0  # <unk> never occurs, <s> is never predicted
    total = this.adjusted.sum()
    discount = discounts(this.adjusted)[np.minimum(this.adjusted, 3)]
    uniform = 1.0 / (len(this.count) - 1)  # every word but <s>
    this.probability = (this.adjusted - discount) / total + discount.sum() / total * uniform
    this.probability[1] = 0.0


def _interpolate(below: Order, this: Order) -> None:
    """Probabilities of `this`, and the backoff weights of its contexts in `below`."""
    adjusted = this.adjusted.astype(np.float64)
    total = np.bincount(this.prefix, weights=adjusted, minlength=len(below.count))
    discount = discounts(this.adjusted)[np.minimum(this.adjusted, 3)]
    given = np.bincount(this.prefix, weights=np.where(this.kept, discount, adjusted), minlength=len(below.count))
    below.backoff = np.divide(given, total, out=np.ones_like(total), where=total > 0)
    own = (adjusted - discount) / total[this.prefix]
    this.probability = own + below.backoff[this.prefix] * below.probability[this.suffix]


def write_arpa(model: Model, path: Path) -> list[int]:
    """Write the model as an ARPA file; the number of n-grams of each order."""
    sizes = [int(order.kept.sum()) for order in model.orders]
    with atomic_write(path, "w") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {n}={size}\n" for n, size in enumerate(sizes, 1))
        spelt = [""]
        for n, order in enumerate(model.orders, 1):
            file.write(f"\n\\{n}-grams:\n")
            words = [model.vocabulary[word] for word in order.word.tolist()]
            # text of every n-gram, pruned ones too: rows of the next order point to them
            spelt = words if n == 1 else [f"{spelt[p]} {w}" for p, w in zip(order.prefix.tolist(), words, strict=True)]
            with np.errstate(divide="ignore"):
                logs = np.where(order.probability > 0, np.log10(order.probability), -99.0)
                backoffs = np.where(order.backoff > 0, np.log10(order.backoff), -99.0)
            last = n == len(model.orders)
            for row in np.flatnonzero(order.kept).tolist():
                tail = "" if last else f"\t{backoffs[row]:.6f}"
                file.write(f"{logs[row]:.6f}\t{spelt[row]}{tail}\n")
        file.write("\n\\end\\\n")
    return sizes
