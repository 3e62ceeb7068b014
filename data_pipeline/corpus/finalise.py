"""The global part of a build: duplicates, decontamination, mixture over all tasks; shards, dropped table and funnel.

Memory is bounded by `dedup.memory_bytes` for duplicates, whatever the number of documents: hashes, signatures and
decisions lie in files under `scratch/global`, and what has to be brought together is sorted there. A mixture (where
one is asked for) and decontamination (where sets are given) hold about 200 bytes a document in memory.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.base.sorting import Space
from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.corpus.duplicates import drop_duplicates, index_kept
from data_pipeline.corpus.funnel import funnel_rows
from data_pipeline.corpus.ids import find_renames
from data_pipeline.corpus.output import write_documents, write_dropped
from data_pipeline.corpus.survivors import Survivors, TaskFiles, load_survivors
from data_pipeline.decontaminate import decide, load_index
from data_pipeline.dedup.documents import REASONS, STEPS
from data_pipeline.dedup.index import open_indexes
from data_pipeline.mixture import SourceShare, mix, plan_mixture
from data_pipeline.write.task import check_error_share
from millbase.atomic import write_json
from millbase.errors import InputError
from millbase.process import available_cores


def finalise(config: CorpusConfig, tasks: int, steps: list[str], folder: Path) -> dict[str, Any]:
    """Turn the task files under `folder/scratch/tasks` into the corpus in `folder`; statistics for the manifest.

    Raises InputError when no document is left, ArtifactError for a bad index of an earlier build, and StageError when
    too many pages failed inside a step.
    """
    scratch = folder / "scratch" / "tasks"
    work = folder / "scratch" / "global"
    shutil.rmtree(work, ignore_errors=True)  # half-written by a killed run
    space = Space(config.dedup.memory_bytes, work)
    counts = [json.loads((scratch / f"{task:05d}.json").read_text()) for task in range(tasks)]
    read = sum(count["read"] for count in counts)
    files = TaskFiles(scratch, tasks)
    reasons = _count_task_drops(files, read, config)

    indexes = open_indexes(config.dedup)
    renames = find_renames(_records(files), space)
    survivors = load_survivors(files, renames, config, indexes, space)
    # on a cluster, `workers` are tasks on other machines: no more than this one has cores
    workers = min(config.workers or available_cores(), available_cores())
    drop_duplicates(survivors, config.dedup, space, workers)
    drop_contaminated(survivors, config, folder)
    shares = drop_for_mixture(survivors, config)
    _count_global_drops(survivors, reasons)
    kept = read - sum(counts.total() for counts in reasons.values())
    if kept == 0:
        raise InputError(
            f"nothing is left of {read} pages: {_where_they_went(reasons)}; loosen that step or check the input"
        )
    text_bytes = write_documents(folder / "data", survivors, renames, config.shard_bytes)
    write_dropped(folder / "dropped", survivors, renames, config)
    rows = funnel_rows(steps, read, reasons)
    assert rows[-1]["kept"] == kept, "kept + dropped = read"
    write_json(folder / "funnel.json", rows)
    write_json(folder / "timings.json", _timings(counts, survivors))
    if config.dedup.index is not None:
        index_kept(survivors, config.dedup)
    return {
        "read": read,
        "documents": kept,
        "dropped": read - kept,
        "text_bytes": text_bytes,
        "sources": {name: asdict(share) for name, share in shares.items()},
    }


def drop_contaminated(survivors: Survivors, config: CorpusConfig, folder: Path) -> None:
    """Documents that hold evaluation items, or those stretches of them; writes `contamination.json` into `folder`."""
    if not config.decontaminate.enabled:
        return
    started = time.perf_counter()
    rows = survivors.alive()
    light = survivors.table.select(["id", "contamination"]).take(pa.array(rows))
    index = load_index(folder / "scratch")
    outcome = decide(
        config.decontaminate,
        index,
        light["contamination"],
        light["id"].to_pylist(),
        lambda number: survivors.text(int(rows[number])),
    )
    survivors.drop({int(rows[n]): ("decontaminate", drop) for n, drop in outcome.drops.items()})
    survivors.edits = {int(rows[n]): edit for n, edit in outcome.edits.items()}
    survivors.sizes[list(survivors.edits)] = [len(edit.text.encode()) for edit in survivors.edits.values()]
    write_json(folder / "contamination.json", outcome.report)
    survivors.seconds["decontaminate"] = time.perf_counter() - started


def drop_for_mixture(survivors: Survivors, config: CorpusConfig) -> dict[str, SourceShare]:
    """Sample sources down, or have them read more than once; the share of each source."""
    started = time.perf_counter()
    mixture = config.full_mixture
    names = [source.name for source in config.sources] if mixture.column == "source" else []
    if not mixture.enabled:
        available = _available(survivors, names)
        return plan_mixture(available, {name: float(size) for name, size in available.items()}, mixture)
    rows = survivors.alive()
    light = survivors.table.take(pa.array(rows))
    scores = light["mixture_score"].to_numpy() if mixture.quality.buckets else None
    domains = light["mixed"].to_pylist()
    mixed = mix(light["id"].to_pylist(), domains, survivors.sizes[rows], scores, mixture, config.seed, names)
    gone = np.flatnonzero(mixed.copies == 0).tolist()
    survivors.drop({int(rows[index]): ("mixture", mixed.drop(index, domains[index], scores)) for index in gone})
    survivors.copies = np.ones(len(survivors), dtype=np.int32)
    survivors.copies[rows] = mixed.copies
    survivors.seconds["mixture"] = time.perf_counter() - started
    return mixed.shares


def _available(survivors: Survivors, names: list[str]) -> dict[str, int]:
    """Bytes of text left of each source."""
    total: Counter[str] = Counter(dict.fromkeys(names, 0))
    for first, rows in survivors.pieces():
        mixed = survivors.table["mixed"].slice(first, 1 << 16).take(pa.array(rows - first))
        groups = (
            pa.table({"mixed": mixed, "bytes": survivors.sizes[rows]}).group_by("mixed").aggregate([("bytes", "sum")])
        )
        total.update(dict(zip(groups["mixed"].to_pylist(), groups["bytes_sum"].to_pylist(), strict=True)))
    return dict(sorted(total.items()))


def _count_task_drops(files: TaskFiles, read: int, config: CorpusConfig) -> dict[str, Counter[str]]:
    """step -> reason -> documents, of the drops of tasks. Raises StageError when too many pages failed in a step."""
    reasons: dict[str, Counter[str]] = {}
    failed: list[dict[str, Any]] = []
    for task in range(files.tasks):
        for table in files.batches(task, "dropped"):
            pairs = Counter(zip(table["step"].to_pylist(), table["reason"].to_pylist(), strict=True))
            for (step, reason), count in pairs.items():
                reasons.setdefault(step, Counter())[reason] += count
            if len(failed) <= config.max_error_share * read:  # no more are needed to stop the build
                failed += table.filter(pc.starts_with(table["reason"], "error: ")).to_pylist()
    check_error_share(failed, read, config.max_error_share)
    return reasons


def _count_global_drops(survivors: Survivors, reasons: dict[str, Counter[str]]) -> None:
    steps = np.zeros(len(STEPS), dtype=np.int64)
    for first in range(0, len(survivors), 1 << 20):
        last = min(first + (1 << 20), len(survivors))
        steps += np.bincount(survivors.documents.step[first:last], minlength=len(STEPS))
    for number, step in enumerate(STEPS):
        if number and steps[number]:
            reasons.setdefault(step, Counter())[REASONS[number]] += int(steps[number])
    for step, drop in survivors.drops.values():
        reasons.setdefault(step, Counter())[drop.reason] += 1


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


def _records(files: TaskFiles) -> Iterator[tuple[int, list[str], np.ndarray]]:
    """(task, ids, positions) of every record read, in pieces."""
    for task in range(files.tasks):
        for kind in ("kept", "dropped"):
            for table in files.batches(task, kind):
                yield task, table["id"].to_pylist(), table["position"].to_numpy()
