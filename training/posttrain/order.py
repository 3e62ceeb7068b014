"""The order of training rows: a pure function of (number of rows, their lengths, batch size, seed, sequence number).

It does not depend on the micro-batch size, the number of steps, or where a run was interrupted. Rows are an endless
stream of permutations, one per epoch; every optimizer step takes the next `batch_size` of them, so no row is left out
at the end of an epoch and every step has the same number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from millbase.seeds import derive_seed


class TrainingOrder:
    """Row numbers in training order, `steps * batch_size` of them; a sampler for torch's DataLoader.

    Rows of `window` consecutive batches are sorted by length, cut into batches, and the batches shuffled (Khomenko et
    al. 2016 call it bucketing): little padding, and the expected gradient of a window is unchanged. Inside a batch the
    longest rows come first, so micro-batches have rows of like length, and memory peaks at once.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, steps: int, seed: int, window: int = 1) -> None:
        if not len(lengths):
            raise ValueError("no rows to order")
        self.lengths = np.asarray(lengths)
        self.batch_size, self.steps, self.seed = batch_size, steps, seed
        # A window of several epochs would put the copies of one row side by side.
        self.window = max(1, min(window, len(lengths) // batch_size))

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[int]:
        return islice(self._rows(), len(self))

    def _rows(self) -> Iterator[int]:
        stream = self._stream()
        number = 0
        while True:
            # A window is sorted whole even where the run ends inside it: a longer run then has the same beginning.
            rows = np.fromiter(islice(stream, self.window * self.batch_size), dtype=np.int64)
            rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
            generator = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "window", number)))
            for batch in generator.permutation(self.window):
                yield from rows[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()
            number += 1

    def _stream(self) -> Iterator[int]:
        epoch = 0
        while True:
            generator = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "epoch", epoch)))
            yield from generator.permutation(len(self.lengths)).tolist()
            epoch += 1
