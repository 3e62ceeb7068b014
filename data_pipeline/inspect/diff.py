"""What differs between two corpora: documents, where they were dropped, texts, configurations, funnels.

Pages are matched by id in memory that does not grow with the corpora: both are split by a hash of the id into parts on
disk, which are joined one by one.
"""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from data_pipeline.corpus.lookup import read_funnel
from data_pipeline.inspect.tables import read_batch, shard_files
from millbase.artifacts import Manifest, open_artifact

_ROWS_A_PART = 4_000_000
_KEPT = "kept"
_RECORD = np.dtype(
    [("id", "<u8"), ("text", "<u8"), ("outcome", "<u4"), ("file", "<u4"), ("batch", "<u4"), ("row", "<u4")]
)


def compare_corpora(
    one: str | Path, two: str | Path, examples: int = 3, rows_a_part: int = _ROWS_A_PART
) -> dict[str, Any]:
    """The differences between corpora A (`one`) and B (`two`) as JSON values.

    `pages`: how many both read, and each alone. `same`: kept in both with the same text, or dropped by the same step
    for the same reason. `changes`: a row for each pair of outcomes that differ (`kept`, `step: reason`, or `absent`;
    `kept` twice where the text changed) with its number of pages and `examples`. `config`: values that differ, by
    dotted name. `funnel`: both funnels side by side. Raises ArtifactError when either is no corpus.
    """
    manifests = [open_artifact(path, kind="corpus", verify=False) for path in (one, two)]
    total = max(int(manifest.stats["read"]) for manifest in manifests)
    parts = max(1, -(-total // rows_a_part))
    outcomes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="llmill-diff-") as folder:
        sides = [_Side(manifest, Path(folder) / side, parts, outcomes) for manifest, side in zip(manifests, "ab")]
        join = _Join(examples)
        for part in range(parts):
            join.add(sides[0].part(part), sides[1].part(part))
    changes = [join.describe(pair, sides, outcomes) for pair in join.ordered()]
    return {
        "a": str(one),
        "b": str(two),
        "pages": {"both": join.both, "only_a": join.alone[0], "only_b": join.alone[1]},
        "same": join.same,
        "changes": changes,
        "config": config_differences(manifests[0].config, manifests[1].config),
        "funnel": _funnels(manifests),
    }


class _Side:
    """One corpus, split into parts by a hash of the id."""

    def __init__(self, manifest: Manifest, folder: Path, parts: int, outcomes: list[str]) -> None:
        self.path, self.folder = manifest.path, folder
        self.files = [*shard_files(self.path / "data"), *shard_files(self.path / "dropped")]
        folder.mkdir()
        codes = {name: code for code, name in enumerate(outcomes)}
        writers = [open(folder / str(part), "wb") for part in range(parts)]
        try:
            for records in self._records(codes, outcomes):
                owners = (records["id"] >> np.uint64(32)) % np.uint64(parts)
                for part in np.unique(owners).tolist():
                    writers[part].write(records[owners == part].tobytes())
        finally:
            for writer in writers:
                writer.close()

    def _records(self, codes: dict[str, int], outcomes: list[str]) -> Iterator[np.ndarray]:
        for number, file in enumerate(self.files):
            kept = file.parent.name == "data"
            columns = ["id", "text"] if kept else ["id", "step", "reason"]
            batches = pa.ipc.open_file(pa.memory_map(str(file))).num_record_batches
            for index in range(batches):
                batch = read_batch(file, index, columns)
                records = np.zeros(batch.num_rows, dtype=_RECORD)
                records["id"] = [_hash(name) for name in batch["id"].to_pylist()]
                records["file"], records["batch"] = number, index
                records["row"] = np.arange(batch.num_rows)
                if kept:
                    names = [_KEPT] * batch.num_rows
                    records["text"] = [_hash(text) for text in batch["text"].to_pylist()]
                else:
                    pairs = zip(batch["step"].to_pylist(), batch["reason"].to_pylist(), strict=True)
                    names = [f"{step}: {reason}" for step, reason in pairs]
                for name in names:
                    if name not in codes:
                        codes[name] = len(outcomes)
                        outcomes.append(name)
                records["outcome"] = [codes[name] for name in names]
                yield records

    def part(self, number: int) -> np.ndarray:
        """The records of one part, by id."""
        records = np.fromfile(self.folder / str(number), dtype=_RECORD)
        return records[np.argsort(records["id"], kind="stable")]

    def row(self, record: np.void) -> dict[str, Any]:
        """The row of the corpus that a record stands for."""
        batch = read_batch(self.files[record["file"]], int(record["batch"]))
        row: dict[str, Any] = batch.slice(int(record["row"]), 1).to_pylist()[0]
        return row


class _Join:
    """Counts pairs of outcomes over parts, and keeps a few examples of each: those of smallest id hash."""

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.both = self.same = 0
        self.alone = [0, 0]
        self.counts: Counter[tuple[int, int]] = Counter()
        self.found: dict[tuple[int, int], list[tuple[int, Any, Any]]] = defaultdict(list)

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Join two parts, each sorted by id."""
        _, in_a, in_b = np.intersect1d(a["id"], b["id"], assume_unique=True, return_indices=True)
        self.both += len(in_a)
        left, right = a[in_a], b[in_b]
        differ = (left["outcome"] != right["outcome"]) | (left["text"] != right["text"])
        self.same += int((~differ).sum())
        self._count(left[differ], right[differ])
        for side, (records, matched) in enumerate(((a, in_a), (b, in_b))):
            alone = np.delete(records, matched)
            self.alone[side] += len(alone)
            self._count(*((alone, None) if side == 0 else (None, alone)))

    def _count(self, left: np.ndarray | None, right: np.ndarray | None) -> None:
        some = left if left is not None else right
        assert some is not None
        codes = [
            (side["outcome"].astype(np.int64) if side is not None else np.full(len(some), -1)) for side in (left, right)
        ]
        pairs, where, counts = np.unique(np.stack(codes), axis=1, return_inverse=True, return_counts=True)
        where = where.reshape(-1)
        for index, pair in enumerate(zip(*pairs.tolist(), strict=True)):
            self.counts[pair] += int(counts[index])
            for row in np.flatnonzero(where == index)[: self.examples].tolist():
                sides: list[Any] = [None if side is None else side[row] for side in (left, right)]
                self.found[pair].append((int(some["id"][row]), sides[0], sides[1]))
            self.found[pair] = heapq.nsmallest(self.examples, self.found[pair], key=lambda item: item[0])

    def ordered(self) -> list[tuple[int, int]]:
        """Pairs of outcomes, the most frequent first."""
        return sorted(self.counts, key=lambda pair: (-self.counts[pair], pair))

    def describe(self, pair: tuple[int, int], sides: list[_Side], outcomes: list[str]) -> dict[str, Any]:
        """JSON values of one kind of change."""
        names = ["absent" if code < 0 else outcomes[code] for code in pair]
        shown = []
        for _, *records in self.found[pair]:
            rows = [None if record is None else side.row(record) for record, side in zip(records, sides, strict=True)]
            row = rows[0] or rows[1]
            assert row is not None
            example = {"id": row["id"], "url": row["url"]}
            example |= {side: _summary(found) for side, found in zip("ab", rows, strict=True) if found is not None}
            shown.append(example)
        return {"a": names[0], "b": names[1], "pages": self.counts[pair], "examples": shown}


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    if "text" in row:
        return {"characters": len(row["text"])}
    return {name: row[name] for name in ("value", "threshold", "detail") if row[name] is not None}


def config_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`name`, `a`, `b` of every value that differs, nested ones by dotted names; null stands for a missing one."""
    flat_a, flat_b = _flatten(a), _flatten(b)
    names = sorted(flat_a.keys() | flat_b.keys())
    return [
        {"name": name, "a": flat_a.get(name), "b": flat_b.get(name)}
        for name in names
        if flat_a.get(name) != flat_b.get(name)
    ]


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    items: Iterator[tuple[Any, Any]] | None = None
    if isinstance(value, Mapping):
        items = iter(value.items())
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        items = iter(enumerate(value))
    if items is None:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _funnels(manifests: list[Manifest]) -> list[dict[str, Any]]:
    funnels = [{row["step"]: row for row in read_funnel(manifest.path)} for manifest in manifests]
    steps = list(funnels[0])
    for place, step in enumerate(funnels[1]):
        if step not in steps:
            steps.insert(place, step)
    empty = {"read": None, "dropped": None, "kept": None}
    return [
        {
            "step": step,
            **{side: {name: found.get(step, empty)[name] for name in empty} for side, found in zip("ab", funnels)},
        }
        for step in steps
    ]


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())
