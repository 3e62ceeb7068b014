"""The global part of a build: duplicates and mixture over all tasks, then shards, the dropped table and the funnel."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.base.drops import Drop, drop_row
from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.corpus.funnel import funnel_rows
from data_pipeline.corpus.ids import Renames, find_renames, rename
from data_pipeline.dedup.decide import Candidates, exact_duplicates, near_duplicates
from data_pipeline.mixture import SourceShare, mixture_targets, sample_sources
from data_pipeline.write import DROPPED_SCHEMA, ShardWriter, corpus_schema
from data_pipeline.write.schema import TASK_DROPPED_SCHEMA
from data_pipeline.write.task import check_error_share, printable
from millbase.atomic import write_json
from millbase.errors import InputError

_WHERE = ("id", "url", "source", "warc_file", "warc_offset", "warc_length", "position")


@dataclass
class Survivors:
    """The documents that all tasks kept, in input order, with what the global steps need; no texts."""

    tasks: np.ndarray
    """int64 [N] task of each document; they ascend."""
    table: pa.Table
    """Columns id, url, source, place in the WARC, exact_hash, characters, bytes, quality and, perhaps, signature."""
    drops: dict[int, tuple[str, Drop]] = field(default_factory=dict)
    """row -> step and reason, filled by the global steps."""
    seconds: dict[str, float] = field(default_factory=dict)

    def alive(self) -> np.ndarray:
        """int64 rows that no global step has dropped so far."""
        mask = np.ones(self.table.num_rows, dtype=bool)
        mask[list(self.drops)] = False
        return np.flatnonzero(mask)


def finalise(config: CorpusConfig, tasks: int, steps: list[str], folder: Path) -> dict[str, Any]:
    """Turn the task files under `folder/scratch/tasks` into the corpus in `folder`; statistics for the manifest.

    Raises InputError when no document is left, and StageError when too many pages failed inside a step.
    """
    scratch = folder / "scratch" / "tasks"
    counts = [json.loads((scratch / f"{task:05d}.json").read_text()) for task in range(tasks)]
    read = sum(count["read"] for count in counts)
    task_drops = pa.concat_tables([_open(scratch / f"{task:05d}.dropped.arrow") for task in range(tasks)])
    errors = task_drops.filter(pc.starts_with(task_drops["reason"], "error: ")).to_pylist()
    check_error_share(errors, read, config.max_error_share)

    survivors = load_survivors(scratch, tasks)
    renames = find_renames(_records(scratch, tasks))
    drop_duplicates(survivors, config)
    shares = drop_for_mixture(survivors, config)
    reasons = _count_reasons(task_drops, survivors)
    kept = survivors.table.num_rows - len(survivors.drops)
    if kept == 0:
        raise InputError(
            f"nothing is left of {read} pages: {_where_they_went(reasons)}; loosen that step or check the input"
        )
    text_bytes = write_documents(scratch, folder / "data", survivors, renames, config.shard_bytes)
    write_dropped(scratch, folder / "dropped", tasks, survivors, renames, config.shard_bytes)
    rows = funnel_rows(steps, read, reasons)
    assert rows[-1]["kept"] == kept, "kept + dropped = read"
    write_json(folder / "funnel.json", rows)
    write_json(folder / "timings.json", _timings(counts, survivors))
    return {
        "read": read,
        "documents": kept,
        "dropped": read - kept,
        "text_bytes": text_bytes,
        "sources": {name: asdict(share) for name, share in shares.items()},
    }


def load_survivors(scratch: Path, tasks: int) -> Survivors:
    """Read what the global steps need of every task's kept documents."""
    tables, owners = [], []
    for task in range(tasks):
        table = _open(scratch / f"{task:05d}.kept.arrow")
        score = pc.struct_field(table["quality"], "score").cast(pa.float64())
        columns = [name for name in (*_WHERE, "exact_hash", "signature") if name in table.column_names]
        light = table.select(columns)
        light = light.append_column("characters", pc.utf8_length(table["text"]).cast(pa.int64()))
        light = light.append_column("bytes", pc.binary_length(table["text"]).cast(pa.int64()))
        light = light.append_column("quality", pc.fill_null(score, -1.0))
        tables.append(light)
        owners.append(np.full(table.num_rows, task, dtype=np.int64))
    return Survivors(np.concatenate(owners), pa.concat_tables(tables))


def drop_duplicates(survivors: Survivors, config: CorpusConfig) -> None:
    """Exact duplicates, then near-duplicates among the rest."""
    table = survivors.table
    candidates = Candidates(table["id"].to_pylist(), table["characters"].to_numpy(), table["quality"].to_numpy())
    for step, enabled in (("exact_dedup", config.dedup.exact), ("minhash_dedup", config.dedup.near)):
        if not enabled:
            continue
        started = time.perf_counter()
        rows = survivors.alive()
        if step == "exact_dedup":
            keepers = exact_duplicates(table["exact_hash"].to_pylist(), candidates, config.dedup)
        else:
            signatures = table["signature"].combine_chunks().flatten().to_numpy()
            signatures = signatures.reshape(-1, config.dedup.minhash.permutations)[rows]
            keepers = near_duplicates(signatures, candidates.take(rows), config.dedup)
        reason = "copy" if step == "exact_dedup" else "near_copy"
        for index in np.flatnonzero(keepers != np.arange(len(keepers))):
            keeper = candidates.ids[rows[keepers[index]]]
            survivors.drops[int(rows[index])] = (step, Drop(reason, detail=f"of {keeper}"))
        survivors.seconds[step] = time.perf_counter() - started


def drop_for_mixture(survivors: Survivors, config: CorpusConfig) -> dict[str, SourceShare]:
    """Sample sources down to their weights; the share of each source."""
    started = time.perf_counter()
    rows = survivors.alive()
    light = survivors.table.select(["id", "source", "bytes"]).take(pa.array(rows))
    ids, sources, sizes = light["id"].to_pylist(), light["source"].to_pylist(), light["bytes"].to_numpy()
    available: Counter[str] = Counter()
    for source, size in zip(sources, sizes.tolist(), strict=True):
        available[source] += size
    weights = {source.name: source.weight for source in config.sources}
    for name, weight in weights.items():
        if weight is not None and not available[name]:
            raise InputError(
                f"source {name!r} has weight {weight} and no document left after filtering; "
                "loosen the filters, remove the source, or set its weight to null"
            )
    shares = mixture_targets(available, weights, config.max_epochs)
    keep = sample_sources(ids, sources, sizes, shares, config.seed)
    for index in np.flatnonzero(~keep):
        share = shares[sources[index]]
        assert share.target is not None, "only sources with a weight are sampled"
        drop = Drop("over_weight", float(share.available), round(share.target, 1))
        survivors.drops[int(rows[index])] = ("mixture", drop)
    survivors.seconds["mixture"] = time.perf_counter() - started
    return shares


def write_documents(scratch: Path, folder: Path, survivors: Survivors, renames: Renames, shard_bytes: int) -> int:
    """Write the shards of the documents that are left, in input order; bytes of text."""
    dropped = np.zeros(survivors.table.num_rows, dtype=bool)
    dropped[list(survivors.drops)] = True
    total = 0
    schema = corpus_schema()
    with ShardWriter(folder, schema, shard_bytes, size_column="text") as writer:
        for task in np.unique(survivors.tasks).tolist():
            rows = slice(*np.searchsorted(survivors.tasks, [task, task + 1]).tolist())
            table = rename(_open(scratch / f"{task:05d}.kept.arrow"), renames.get(task, {}))
            table = table.select(schema.names).cast(schema)
            for start in range(0, table.num_rows, 1024):  # memory for a piece of the texts at a time
                part = table.slice(start, 1024)
                writer.write(part.filter(pa.array(~dropped[rows][start : start + 1024])))
        kept = survivors.table.filter(pa.array(~dropped))
        total = int(pc.sum(kept["bytes"]).as_py() or 0)
    return total


def write_dropped(
    scratch: Path, folder: Path, tasks: int, survivors: Survivors, renames: Renames, shard_bytes: int
) -> None:
    """Write the dropped table: one row for each dropped document, in input order."""
    globally = _global_rows(survivors)
    with ShardWriter(folder, DROPPED_SCHEMA, shard_bytes) as writer:
        for task in range(tasks):
            table = _open(scratch / f"{task:05d}.dropped.arrow")
            if task in globally:
                more = pa.Table.from_pylist(globally[task], TASK_DROPPED_SCHEMA)
                table = pa.concat_tables([table, more]).sort_by("position")
            table = rename(table, renames.get(task, {}))
            writer.write(table.select(DROPPED_SCHEMA.names).cast(DROPPED_SCHEMA))


def _global_rows(survivors: Survivors) -> dict[int, list[dict[str, Any]]]:
    rows = sorted(survivors.drops)
    where = survivors.table.select(list(_WHERE)).take(pa.array(rows, pa.int64())).to_pylist()
    by_task: dict[int, list[dict[str, Any]]] = {}
    for row, place in zip(rows, where, strict=True):
        step, drop = survivors.drops[row]
        by_task.setdefault(int(survivors.tasks[row]), []).append(printable(drop_row(step, place["id"], place, drop)))
    return by_task


def _count_reasons(task_drops: pa.Table, survivors: Survivors) -> dict[str, Counter[str]]:
    """step -> reason -> documents."""
    reasons: dict[str, Counter[str]] = {}
    for step, reason in _pairs(task_drops, survivors):
        reasons.setdefault(step, Counter())[reason] += 1
    return reasons


def _pairs(task_drops: pa.Table, survivors: Survivors) -> Iterator[tuple[str, str]]:
    yield from zip(task_drops["step"].to_pylist(), task_drops["reason"].to_pylist(), strict=True)
    for step, drop in survivors.drops.values():
        yield step, drop.reason


def _where_they_went(reasons: dict[str, Counter[str]]) -> str:
    step, counts = max(reasons.items(), key=lambda item: item[1].total())
    reason, count = counts.most_common(1)[0]
    return f"step {step!r} dropped {counts.total()}, most of them ({count}) for {reason!r}"


def _timings(counts: list[dict[str, Any]], survivors: Survivors) -> dict[str, float]:
    seconds: Counter[str] = Counter()
    for part in [*(count["seconds"] for count in counts), survivors.seconds]:
        for step, value in part.items():
            seconds[step] += value
    return {step: round(value, 3) for step, value in seconds.items()}


def _records(scratch: Path, tasks: int) -> Iterator[tuple[str, int, int]]:
    """(id, task, position) of every record read."""
    for task in range(tasks):
        for kind in ("kept", "dropped"):
            table = _open(scratch / f"{task:05d}.{kind}.arrow")
            yield from (
                (i, task, p) for i, p in zip(table["id"].to_pylist(), table["position"].to_pylist(), strict=True)
            )


def _open(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
