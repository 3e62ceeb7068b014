"""Document ids that are unique over the whole corpus.

Ids come from the WARC records, and a crawl may hold two records of one id (a file under two names, a broken writer).
The second and later ones, in input order, get `#2`, `#3`, ... appended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

Renames = dict[int, dict[int, str]]
"""task -> position of the record in its file -> new id."""


def find_renames(records: Iterable[tuple[str, int, int]]) -> Renames:
    """New ids for repeated ones among (id, task, position)."""
    records = list(records)
    counts = Counter(record_id for record_id, _, _ in records)
    if len(counts) == len(records):
        return {}
    renames: Renames = {}
    seen: Counter[str] = Counter()
    repeated = (record for record in records if counts[record[0]] > 1)
    for record_id, task, position in sorted(repeated, key=lambda record: record[1:]):
        seen[record_id] += 1
        if seen[record_id] > 1:
            renames.setdefault(task, {})[position] = f"{record_id}#{seen[record_id]}"
    return renames


def rename(table: pa.Table, names: dict[int, str]) -> pa.Table:
    """`table` of one task (with columns id and position) with new ids for the positions in `names`."""
    if not names:
        return table
    pairs = zip(table["id"].to_pylist(), table["position"].to_pylist(), strict=True)
    column = pa.array([names.get(position, old) for old, position in pairs], pa.string())
    return table.set_column(table.schema.get_field_index("id"), table.schema.field("id"), column)
