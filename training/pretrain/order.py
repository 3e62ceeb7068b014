"""The order of the training data: a pure function of (dataset digest, seed, sequence number).

An epoch visits every document once, in an order drawn from (digest, seed, epoch). The epochs, one after the other,
make one endless stream of tokens, cut into windows `stream[w * T : (w + 1) * T + 1]`. The windows that begin in one
epoch are visited in an order drawn likewise, for else a batch would hold neighbouring windows of one long document.
Sequence `k` is the `k`-th window visited. So a sequence does not depend on the number of steps, the batch size, the
micro-batch or the layout over ranks, and a run can be lengthened, resized or replayed with every sequence in its place.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from millbase.errors import InputError
from millbase.seeds import derive_seed
from training.pretrain.shards import TokenShards

_EPOCHS_IN_MEMORY = 2
_FEISTEL_ROUNDS = 6


@dataclass(frozen=True)
class Span:
    """Tokens `[start, end)` of one document, as they stand in a sequence."""

    document: int
    start: int
    end: int


@dataclass(frozen=True)
class _Epoch:
    order: np.ndarray
    """Document at each place of the epoch, `[documents]`."""
    ends: np.ndarray
    """Tokens of the epoch up to and including each place, `[documents]`."""


def epoch_order(documents: int, digest: str, seed: int, epoch: int) -> np.ndarray:
    """A permutation of `range(documents)`, `[documents]` int64, drawn from (digest, seed, epoch).

    Each document gets 64 bits of the Philox generator (Salmon et al. 2011), whose stream numpy keeps fixed over
    versions, and the documents are sorted by them (equal keys: lower number first).
    """
    bits = np.random.Philox(key=derive_seed(seed, "order", digest, epoch)).random_raw(documents)
    return np.argsort(bits, kind="stable")


def permuted(index: int, size: int, key: int) -> int:
    """Where a permutation of `range(size)` drawn from the 64-bit `key` takes `index`; no memory, whatever the size.

    A Feistel network on the smallest square of a power of two that holds `size`, applied until the result lies in the
    range (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", sections 3 and 4).
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for number in range(_FEISTEL_ROUNDS):
            drawn = hashlib.blake2b(
                struct.pack("<BQ", number, right), digest_size=8, key=struct.pack("<Q", key)
            ).digest()
            left, right = right, left ^ (int.from_bytes(drawn, "little") & mask)
        index = left << half | right
        if index < size:
            return index


class SequenceOrder:
    """Cuts the endless stream of shuffled documents into sequences."""

    def __init__(self, shards: TokenShards, digest: str, seed: int, sequence_length: int) -> None:
        """InputError when an epoch holds no whole sequence."""
        self.shards, self.digest, self.seed, self.sequence_length = shards, digest, seed, sequence_length
        self.tokens_per_epoch = shards.total_tokens
        if self.tokens_per_epoch <= sequence_length:
            raise InputError(
                f"{shards.directory}: {self.tokens_per_epoch} tokens do not fill a sequence of {sequence_length} + 1; "
                "lower data.sequence_length or build more tokens"
            )
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            order = epoch_order(len(self.shards), self.digest, self.seed, number)
            self._epochs[number] = _Epoch(order, np.cumsum(self.shards.lengths[order]))
            while len(self._epochs) > _EPOCHS_IN_MEMORY:
                self._epochs.popitem(last=False)
        return self._epochs[number]

    def window(self, sequence: int) -> int:
        """The window of the stream that is sequence number `sequence`; both begin in the same epoch."""
        epoch = sequence * self.sequence_length // self.tokens_per_epoch
        first, after = (-(-e * self.tokens_per_epoch // self.sequence_length) for e in (epoch, epoch + 1))
        return first + permuted(sequence - first, after - first, derive_seed(self.seed, "windows", self.digest, epoch))

    def spans(self, sequence: int) -> Iterator[Span]:
        """The pieces of documents that make up sequence `sequence`: `sequence_length + 1` tokens in all."""
        position = self.window(sequence) * self.sequence_length
        left = self.sequence_length + 1
        number, offset = divmod(position, self.tokens_per_epoch)
        while left:
            epoch = self._epoch(number)
            place = int(np.searchsorted(epoch.ends, offset, side="right"))
            while left and place < len(epoch.order):
                document = int(epoch.order[place])
                start = offset - int(epoch.ends[place] - self.shards.lengths[document])
                end = min(int(self.shards.lengths[document]), start + left)
                if end > start:
                    yield Span(document, start, end)
                left -= end - start
                offset += end - start
                place += 1
            number, offset = number + 1, 0

    def tokens(self, sequence: int) -> np.ndarray:
        """Token ids of a sequence, `[sequence_length + 1]` int64."""
        return np.concatenate([self.shards.tokens(s.document)[s.start : s.end] for s in self.spans(sequence)]).astype(
            np.int64
        )
