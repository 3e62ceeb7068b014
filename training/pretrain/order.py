"""The order of one source's tokens: a pure function of (dataset digest, seed, sequence number).

An epoch visits every document once, in an order drawn from (digest, seed, epoch). The epochs, one after the other,
make one endless stream of tokens, cut into windows `stream[w * T : (w + 1) * T + 1]`. The windows that begin in one
epoch are visited in an order drawn likewise, `REACH` at a time, for else a batch would hold neighbouring windows of one
long document. Sequence `k` is the `k`-th window visited. So a sequence does not depend on the number of steps, the
batch size, the micro-batch or the layout over ranks, and a run can be lengthened, resized or replayed with every
sequence in its place.

A later stage of training may take longer sequences: the stream is cut anew behind all windows that were visited or lie
among visited ones (`cut`), so nothing is read twice within an epoch, and less than `REACH` windows are passed over.
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
from training.shards import TokenShards

REACH = 16_384
"""Windows that are visited in a drawn order before the next ones are begun."""
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


@dataclass(frozen=True)
class _Cut:
    """Windows of one length."""

    first: int
    """Number of the first sequence."""
    offset: int
    """Token of the stream where its windows begin."""
    length: int
    """Tokens of a window."""


class SequenceOrder:
    """Cuts the endless stream of a source's shuffled documents into sequences."""

    def __init__(
        self,
        shards: TokenShards,
        digest: str,
        seed: int,
        sequence_length: int,
        documents: np.ndarray | None = None,
        name: str | None = None,
    ) -> None:
        """`documents`: numbers of those that belong to the source, default all; `name`: for messages.

        InputError when an epoch holds no whole sequence.
        """
        self.shards, self.digest, self.seed = shards, digest, seed
        self.documents = documents
        self._lengths = shards.lengths if documents is None else shards.lengths[documents]
        self._name = name or str(shards.directory)
        self.tokens_per_epoch = int(self._lengths.sum())
        self._check(sequence_length)
        self._cuts = [_Cut(0, 0, sequence_length)]
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()

    def _check(self, sequence_length: int) -> None:
        if self.tokens_per_epoch <= sequence_length:
            raise InputError(
                f"{self._name}: {self.tokens_per_epoch} tokens do not fill a sequence of {sequence_length} + 1; "
                "lower data.sequence_length or build more tokens"
            )

    def cut(self, first: int, sequence_length: int) -> None:
        """From sequence number `first` on, sequences have another length; call in ascending order of `first`."""
        self._check(sequence_length)
        last = self._cuts[-1]
        assert first >= last.first, "cuts come in order"
        visited = first - last.first
        begun, count, _ = self._epoch_windows(last, visited)
        # the end of the group of windows that is half visited, or where it would begin
        behind = min(begun + -(-(visited - begun) // REACH) * REACH, begun + count)
        self._cuts.append(_Cut(first, last.offset + behind * last.length, sequence_length))

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            order = epoch_order(len(self._lengths), self.digest, self.seed, number)
            self._epochs[number] = _Epoch(order, np.cumsum(self._lengths[order]))
            while len(self._epochs) > _EPOCHS_IN_MEMORY:
                self._epochs.popitem(last=False)
        return self._epochs[number]

    def _epoch_windows(self, cut: _Cut, index: int) -> tuple[int, int, int]:
        """(first window, number of windows, epoch) of the epoch in which window `index` of a cut begins."""
        epoch = (cut.offset + index * cut.length) // self.tokens_per_epoch
        first, after = (max(0, -(-(e * self.tokens_per_epoch - cut.offset) // cut.length)) for e in (epoch, epoch + 1))
        return first, after - first, epoch

    def _cut_of(self, sequence: int) -> _Cut:
        return next(cut for cut in reversed(self._cuts) if cut.first <= sequence)

    def window(self, sequence: int) -> int:
        """The window, counted from where its cut begins, that is sequence number `sequence`."""
        cut = self._cut_of(sequence)
        index = sequence - cut.first
        first, count, epoch = self._epoch_windows(cut, index)
        group, place = divmod(index - first, REACH)
        names: list[str | int] = [
            epoch,
            *([group] if group or cut.offset else []),
            *([cut.offset] if cut.offset else []),
        ]
        size = min(REACH, count - group * REACH)
        return first + group * REACH + permuted(place, size, derive_seed(self.seed, "windows", self.digest, *names))

    def spans(self, sequence: int) -> Iterator[Span]:
        """The pieces of documents that make up sequence `sequence`: its length + 1 tokens in all."""
        cut = self._cut_of(sequence)
        position = cut.offset + self.window(sequence) * cut.length
        left = cut.length + 1
        number, offset = divmod(position, self.tokens_per_epoch)
        while left:
            epoch = self._epoch(number)
            place = int(np.searchsorted(epoch.ends, offset, side="right"))
            while left and place < len(epoch.order):
                index = int(epoch.order[place])
                start = offset - int(epoch.ends[place] - self._lengths[index])
                end = min(int(self._lengths[index]), start + left)
                if end > start:
                    yield Span(index if self.documents is None else int(self.documents[index]), start, end)
                left -= end - start
                offset += end - start
                place += 1
            number, offset = number + 1, 0

    def tokens(self, sequence: int) -> np.ndarray:
        """Token ids of a sequence, `[length + 1]` int64."""
        return np.concatenate([self.shards.tokens(s.document)[s.start : s.end] for s in self.spans(sequence)]).astype(
            np.int64
        )
