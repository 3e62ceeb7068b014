"""Document ids that are unique over the whole corpus.

Ids come from the records, and a crawl may hold two records of one id (a file under two names, a broken writer). The
second and later ones, in input order, get `#2`, `#3`, ... appended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash

from data_pipeline.base.sorting import Space, numbers, pack, starts_of_groups


@dataclass
class Renames:
    """Records whose id came before: arrays sorted by task and position."""

    tasks: np.ndarray
    positions: np.ndarray
    numbers: np.ndarray
    """2 for the second record of an id, and so on."""

    def of(self, task: int) -> dict[int, int]:
        """Position of the record in its file -> number."""
        rows = slice(*np.searchsorted(self.tasks, [task, task + 1]).tolist())
        return dict(zip(self.positions[rows].tolist(), self.numbers[rows].tolist(), strict=True))


def find_renames(records: Iterable[tuple[int, Sequence[str], np.ndarray]], space: Space) -> Renames:
    """Repeated ids among all records, which come in pieces of (task, ids, positions)."""
    found = space.sorter(32)
    for task, ids, positions in records:
        hashes = b"".join(xxhash.xxh3_128_digest(name.encode("utf-8", "surrogatepass")) for name in ids)
        keys = np.frombuffer(hashes, dtype=np.uint8).reshape(-1, 16)
        found.add(pack(keys, np.full(len(ids), task), positions))
    repeated = space.sorter(24)
    last, count = np.empty((0, 32), dtype=np.uint8), 0  # the last record, and how many of its id there were
    for piece in found.chunks():
        piece = np.concatenate([last, piece])
        first = starts_of_groups(numbers(piece, 0), numbers(piece, 8))
        place = np.arange(len(piece)) - np.flatnonzero(first)[np.cumsum(first) - 1] + 1
        if len(last):
            place[np.cumsum(first) == 1] += count - 1
        again = place > 1
        again[: len(last)] = False
        repeated.add(pack(numbers(piece[again], 16), numbers(piece[again], 24), place[again]))
        last, count = piece[-1:], int(place[-1])
    found.close()
    arrays = [space.array(f"renames-{name}.i64", np.int64, (repeated.added,)) for name in ("tasks", "rows", "numbers")]
    place_of = 0
    for piece in repeated.chunks():
        for column, array in enumerate(arrays):
            array[place_of : place_of + len(piece)] = numbers(piece, 8 * column)
        place_of += len(piece)
    repeated.close()
    return Renames(*arrays)


def rename(table: pa.Table, names: dict[int, int]) -> pa.Table:
    """`table` of one task (with columns id and position) with new ids for the positions in `names`."""
    if not names:
        return table
    pairs = zip(table["id"].to_pylist(), table["position"].to_pylist(), strict=True)
    ids = [f"{name}#{names[position]}" if position in names else name for name, position in pairs]
    field = table.schema.field("id")
    return table.set_column(table.schema.get_field_index("id"), field, pa.array(ids, pa.string()))
