"""Decontamination of a finished corpus: a new corpus without the evaluation items, or just the report.

llmill corpus decontaminate corpus=runs/corpus sets='[{name: gsm8k, path: evals/gsm8k/test.jsonl}]' --out runs/clean
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from data_pipeline.base.pool import run_in_processes
from data_pipeline.decontaminate.config import DecontaminateConfig
from data_pipeline.decontaminate.decide import Outcome, decide
from data_pipeline.decontaminate.evals import evaluation_files
from data_pipeline.decontaminate.index import ContaminationIndex, build_index
from data_pipeline.decontaminate.step import find_rows, load_index, prepare_index
from data_pipeline.write.derived import Changes, CorpusInput, Documents, open_table, write_derived
from millbase.artifacts import create_artifact, open_artifact
from millbase.atomic import atomic_write, write_json
from millbase.errors import ConfigError
from millbase.log import get_logger
from millbase.progress import progress

logger = get_logger(__name__)

_SCHEMA = pa.schema([pa.field("contamination", pa.list_(pa.int32()))])


class DecontaminateCorpusConfig(DecontaminateConfig):
    """Takes evaluation items out of a finished corpus."""

    corpus: str
    """Corpus artifact."""
    shard_bytes: int = Field(default=256 << 20, gt=0)
    """Text bytes in one output shard."""
    workers: int = Field(default=0, ge=0)
    """Processes; 0 takes one for each available core. The result does not depend on it."""


def decontaminate_corpus(config: DecontaminateCorpusConfig, out: str | Path) -> Path:
    """Write a `corpus` artifact without the evaluation items of the corpus in `config`, and `contamination.json`.

    Raises ConfigError without evaluation sets, InputError when one cannot be read, ArtifactError for a bad corpus.
    """
    _check(config)
    started = time.perf_counter()
    recorded = config.model_copy(update={"workers": 0})
    inputs: dict[str, str | list[str]] = {"corpus": config.corpus, "evaluation_sets": evaluation_files(config)}
    with create_artifact(out, kind="corpus", config=recorded, inputs=dict(inputs)) as artifact:
        documents = Documents([CorpusInput(open_artifact(config.corpus, kind="corpus", verify=False))])
        index = prepare_index(config, artifact.scratch)
        found = _find_in_shards(documents, config, artifact.scratch)
        outcome = _decide(documents, config, index, found)
        write_json(artifact.path / "contamination.json", outcome.report)
        changes = Changes("decontaminate", outcome.drops, outcome.edits)
        write_derived(artifact, documents, changes, config.shard_bytes, time.perf_counter() - started)
        counts = outcome.report["documents"]
        logger.info(
            "%d of %d documents hold evaluation items: %d dropped, %d edited",
            counts["contaminated"], counts["read"], counts["dropped"], counts["edited"],
        )  # fmt: skip
    return Path(out)


def measure_contamination(config: DecontaminateCorpusConfig) -> dict[str, Any]:
    """The report on a finished corpus, which is left as it is. Raises what `decontaminate_corpus` raises."""
    _check(config)
    documents = Documents([CorpusInput(open_artifact(config.corpus, kind="corpus"))])
    index = build_index(config)
    found = []
    with progress("looking for evaluation items", total=len(documents), unit="documents") as bar:
        for _, table in documents.tables(["text"]):
            found.append(_find(table, index, config))
            bar.advance(table.num_rows)
    return _decide(documents, config, index, pa.concat_tables(found)).report


def _check(config: DecontaminateCorpusConfig) -> None:
    if not config.enabled:
        raise ConfigError("no evaluation sets: give some, such as sets='[{name: gsm8k, path: evals/gsm8k.jsonl}]'")


def _decide(documents: Documents, config: DecontaminateConfig, index: ContaminationIndex, found: pa.Table) -> Outcome:
    ids = [name for _, table in documents.tables(["id"]) for name in table["id"].to_pylist()]
    return decide(config, index, found["contamination"], ids, documents.text)


def _find_in_shards(documents: Documents, config: DecontaminateCorpusConfig, scratch: Path) -> pa.Table:
    """Column `contamination` of all documents; shards that a killed run finished are not read again."""
    tasks = [(file, scratch / f"found-{number:06d}.arrow") for number, (_, file) in enumerate(documents.files)]
    left = [(file, found, config, scratch) for file, found in tasks if not found.exists()]
    with progress("looking for evaluation items", total=len(tasks), unit="shards") as bar:
        bar.advance(len(tasks) - len(left))
        for _ in run_in_processes(_find_in_shard, left, config.workers, "decontaminate"):
            bar.advance(1)
    return pa.concat_tables([open_table(found) for _, found in tasks])


def _find_in_shard(file: Path, found: Path, config: DecontaminateConfig, scratch: Path) -> None:
    table = _find(open_table(file), load_index(scratch), config)
    with atomic_write(found, "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)


def _find(table: pa.Table, index: ContaminationIndex, config: DecontaminateConfig) -> pa.Table:
    rows = []
    for batch in table.select(["text"]).to_batches(max_chunksize=1024):
        rows += [find_rows(index, config, text).tolist() or None for text in batch["text"].to_pylist()]
    return pa.table([pa.array(rows, _SCHEMA.field(0).type)], schema=_SCHEMA)
