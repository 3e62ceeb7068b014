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
from data_pipeline.decontaminate import Edit, decide, load_index
from data_pipeline.dedup.decide import Candidates, exact_duplicates, near_duplicates
from data_pipeline.mixture import SourceShare, mix
from data_pipeline.write import DROPPED_SCHEMA, ShardWriter, corpus_schema
from data_pipeline.write.columns import float_column, mark_copies, replace_texts, string_column
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
    edits: dict[int, Edit] = field(default_factory=dict)
    """row -> what decontamination leaves of a text."""
    copies: np.ndarray | None = None
    """int32 [N] how often training reads each document; null without a mixture."""
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

    survivors = load_survivors(scratch, tasks, config)
    renames = find_renames(_records(scratch, tasks))
    drop_duplicates(survivors, config)
    drop_contaminated(survivors, config, folder)
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


def load_survivors(scratch: Path, tasks: int, config: CorpusConfig) -> Survivors:
    """Read what the global steps need of every task's kept documents."""
    tables, owners = [], []
    mixture = config.full_mixture
    for task in range(tasks):
        table = _open(scratch / f"{task:05d}.kept.arrow")
        score = pc.struct_field(table["quality"], "score").cast(pa.float64())
        wanted = (*_WHERE, "exact_hash", "signature", "contamination")
        columns = [name for name in dict.fromkeys(wanted) if name in table.column_names]
        light = table.select(columns)
        light = light.append_column("mixed", string_column(table, mixture.column))
        if mixture.quality.buckets:
            light = light.append_column("mixture_score", float_column(table, mixture.quality.column))
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


def drop_contaminated(survivors: Survivors, config: CorpusConfig, folder: Path) -> None:
    """Documents that hold evaluation items, or those stretches of them; writes `contamination.json` into `folder`."""
    if not config.decontaminate.enabled:
        return
    started = time.perf_counter()
    rows, firsts = survivors.alive(), np.searchsorted(survivors.tasks, np.arange(survivors.tasks.max(initial=0) + 1))

    def text_of(number: int) -> str:
        task = int(survivors.tasks[rows[number]])
        table = _open(folder / "scratch" / "tasks" / f"{task:05d}.kept.arrow")
        return str(table["text"][int(rows[number] - firsts[task])].as_py())

    light = survivors.table.select(["id", "contamination"]).take(pa.array(rows))
    index = load_index(folder / "scratch")
    outcome = decide(config.decontaminate, index, light["contamination"], light["id"].to_pylist(), text_of)
    survivors.drops |= {int(rows[n]): ("decontaminate", drop) for n, drop in outcome.drops.items()}
    survivors.edits = {int(rows[n]): edit for n, edit in outcome.edits.items()}
    if survivors.edits:
        sizes = survivors.table["bytes"].to_numpy().copy()
        sizes[list(survivors.edits)] = [len(edit.text.encode()) for edit in survivors.edits.values()]
        place = survivors.table.schema.get_field_index("bytes")
        survivors.table = survivors.table.set_column(place, "bytes", pa.array(sizes))
    write_json(folder / "contamination.json", outcome.report)
    survivors.seconds["decontaminate"] = time.perf_counter() - started


def drop_for_mixture(survivors: Survivors, config: CorpusConfig) -> dict[str, SourceShare]:
    """Sample sources down, or have them read more than once; the share of each source."""
    started = time.perf_counter()
    mixture = config.full_mixture
    rows = survivors.alive()
    light = survivors.table.take(pa.array(rows))
    scores = light["mixture_score"].to_numpy() if mixture.quality.buckets else None
    domains = light["mixed"].to_pylist()
    names = [source.name for source in config.sources] if mixture.column == "source" else []
    mixed = mix(light["id"].to_pylist(), domains, light["bytes"].to_numpy(), scores, mixture, config.seed, names)
    for index in np.flatnonzero(mixed.copies == 0).tolist():
        drop = mixed.drop(index, domains[index], scores)
        survivors.drops[int(rows[index])] = ("mixture", drop)
    if mixture.enabled:
        survivors.copies = np.ones(survivors.table.num_rows, dtype=np.int32)
        survivors.copies[rows] = mixed.copies
    survivors.seconds["mixture"] = time.perf_counter() - started
    return mixed.shares


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
                piece = slice(rows.start + start, min(rows.start + start + 1024, rows.stop))
                part = replace_texts(table.slice(start, 1024), survivors.edits, piece.start)
                if survivors.copies is not None:
                    part = mark_copies(part, survivors.copies[piece])
                writer.write(part.filter(pa.array(~dropped[piece])))
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
