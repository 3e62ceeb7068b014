"""Second pass: all documents of the sorted runs in the order of their keys, in bounded memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipeline.tokens.runs import take_rows

_RANGE_BYTES = 64 << 20


class Runs:
    """The runs of a corpus, memory-mapped."""

    def __init__(self, paths: list[Path]) -> None:
        self._batches = [pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0) for path in paths]
        self._keys = [batch["key"].to_numpy() for batch in self._batches]
        self._bytes = sum(path.stat().st_size for path in paths)

    @property
    def documents(self) -> int:
        """Number of documents in all runs."""
        return sum(map(len, self._keys))

    def in_order(self, range_bytes: int = _RANGE_BYTES) -> Iterator[pa.Table]:
        """Tables that follow one another in the order of keys.

        Keys are hashes, hence uniform: equal ranges of keys hold about equal numbers of documents, and one range at a
        time is gathered from all runs and sorted.
        """
        ranges = max(1, -(-self._bytes // range_bytes))
        starts = [0] * len(self._batches)
        for index in range(1, ranges + 1):
            pieces = []
            for number, keys in enumerate(self._keys):
                last = index == ranges
                stop = len(keys) if last else int(np.searchsorted(keys, np.uint64(index * 2**64 // ranges)))
                pieces.append(self._batches[number].slice(starts[number], stop - starts[number]))
                starts[number] = stop
            table = pa.Table.from_batches(pieces)
            # Equal keys are equal ids; they stay in the order of the corpus.
            yield take_rows(table, np.argsort(table["key"].to_numpy(), kind="stable"))
