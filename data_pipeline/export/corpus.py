"""The export of a corpus: shards planned from sizes alone, each written whole or not at all, in any number of
processes.

llmill corpus export runs/corpus --format parquet --out exported
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.base.pool import run_in_processes
from data_pipeline.export.config import ExportConfig
from data_pipeline.export.files import write_jsonl, write_parquet
from data_pipeline.texts import corpus_files
from data_pipeline.write.derived import open_table
from millbase.artifacts import Manifest, create_artifact, open_artifact
from millbase.config import suggest
from millbase.errors import ConfigError, InputError
from millbase.log import get_logger
from millbase.progress import progress

logger = get_logger(__name__)

KIND = "corpus-export"


class Piece(NamedTuple):
    """Rows of one shard of the corpus."""

    file: Path
    start: int
    stop: int


def export_corpus(config: ExportConfig, out: str | Path) -> Path:
    """Write the `corpus-export` artifact `out`: files under `data/`, and a manifest that names the corpus.

    The same corpus and configuration give the same bytes (under the same versions of pyarrow and zstandard); a killed
    export goes on with the files that were not finished. Raises ArtifactError when the corpus is damaged, ConfigError
    for unknown columns, InputError when it is empty.
    """
    recorded = config.model_copy(update={"workers": 0})
    with create_artifact(out, kind=KIND, config=recorded, inputs={"corpus": config.corpus}) as artifact:
        corpus = open_artifact(config.corpus, kind="corpus", verify=False)  # verified as an input just now
        columns = _columns(corpus, config)
        plan, text_bytes, rows = plan_shards(corpus, config)
        (artifact.path / "data").mkdir(exist_ok=True)
        files = [artifact.path / "data" / f"{number:05d}{config.suffix}" for number in range(len(plan))]
        left = [
            (file, pieces, columns, config, corpus.digest) for file, pieces in zip(files, plan) if not file.exists()
        ]
        with progress("exporting", total=len(files), unit="files") as bar:
            bar.advance(len(files) - len(left))
            for _ in run_in_processes(_write_file, left, config.workers, "export"):
                bar.advance(1)
        artifact.stats.update(
            format=config.format, compression=config.compression, columns=columns, rows=rows, files=len(files),
            text_bytes=text_bytes,
        )  # fmt: skip
        logger.info("%d rows (%.1f MB of text) in %d files", rows, text_bytes / 1e6, len(files))
    return Path(out)


def plan_shards(corpus: Manifest, config: ExportConfig) -> tuple[list[list[Piece]], int, int]:
    """(rows of each file, bytes of text in all, number of rows in all); they follow from the sizes of the texts.

    Raises InputError when the corpus has no documents.
    """
    plan: list[list[Piece]] = [[]]
    filled = total = rows = 0
    for file in corpus_files(corpus):
        table = open_table(file)
        times = copies_of(table) if config.repeat_copies else np.ones(table.num_rows, dtype=np.int64)
        sizes = pc.binary_length(table["text"]).to_numpy().astype(np.int64) * times
        start = 0
        for row, size in enumerate(sizes.tolist()):
            if filled and filled + size > config.shard_bytes:
                plan[-1].append(Piece(file, start, row))
                plan.append([])
                start, filled = row, 0
            filled += size
        plan[-1].append(Piece(file, start, table.num_rows))
        total, rows = total + int(sizes.sum()), rows + int(times.sum())
    if not rows:
        raise InputError(f"corpus {str(corpus.path)!r} holds no documents; see its funnel.json for what dropped them")
    return [[piece for piece in pieces if piece.stop > piece.start] for pieces in plan], total, rows


def copies_of(table: pa.Table) -> np.ndarray:
    """int64 [rows] how often each document is to be read."""
    if "copies" not in table.schema.names:
        return np.ones(table.num_rows, dtype=np.int64)
    return np.asarray(pc.fill_null(table["copies"], 1).to_numpy()).astype(np.int64)


def _columns(corpus: Manifest, config: ExportConfig) -> list[str]:
    files = corpus_files(corpus)
    known = open_table(files[0]).schema.names if files else []
    for name in config.columns:
        if name not in known:
            raise ConfigError(f"corpus {str(corpus.path)!r} has no column {name!r}{suggest(name, known)}")
    return config.columns or known


def _write_file(path: Path, pieces: list[Piece], columns: list[str], config: ExportConfig, digest: str) -> None:
    parts = []
    for piece in pieces:
        table = open_table(piece.file).slice(piece.start, piece.stop - piece.start)
        if config.repeat_copies:
            table = table.take(pa.array(np.repeat(np.arange(table.num_rows), copies_of(table))))
        parts.append(table.select(columns))
    table = pa.concat_tables(parts)
    if config.format == "jsonl":
        write_jsonl(path, table, config.compression)
        return
    origin: dict[Any, Any] = {"llmill.corpus": digest}
    write_parquet(path, table.replace_schema_metadata(origin), config.compression, config.row_group_rows)
