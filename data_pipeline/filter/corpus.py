"""A finished corpus without the documents that fail a condition, as a new corpus.

llmill corpus filter runs/corpus --keep "quality.score >= 0.7 and length(text) > 500" --out runs/best
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from data_pipeline.base import Drop
from data_pipeline.filter.expression import Clause, parse
from data_pipeline.write.derived import Changes, CorpusInput, Documents, write_derived
from millbase.artifacts import create_artifact, open_artifact
from millbase.config import Config
from millbase.errors import ConfigError
from millbase.log import get_logger

logger = get_logger(__name__)

_PIECE = 4096


class FilterConfig(Config):
    """Keeps the documents of a finished corpus that meet a condition on its columns."""

    corpus: str
    """Corpus artifact."""
    keep: str
    """Condition, such as `quality.score >= 0.7 and language in ["en", "de"] and length(text) > 500`. Where a value is
    null, a comparison with it is false; `quality.score is None or quality.score >= 0.7` keeps what has no score."""
    shard_bytes: int = Field(default=256 << 20, gt=0)
    """Text bytes in one output shard."""

    @field_validator("keep")
    @classmethod
    def _readable(cls, keep: str) -> str:
        try:
            parse(keep)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return keep


def filter_corpus(config: FilterConfig, out: str | Path) -> Path:
    """Write a `corpus` artifact with the documents of the corpus in `config` that pass, and a row for each other.

    The reason of a row is the first condition that fails. Raises ConfigError when the corpus lacks a column or a type
    does not fit, ArtifactError for a bad corpus, InputError when no document passes.
    """
    clauses = parse(config.keep)
    started = time.perf_counter()
    with create_artifact(out, kind="corpus", config=config, inputs={"corpus": config.corpus}) as artifact:
        manifest = open_artifact(config.corpus, kind="corpus", verify=False)
        documents = Documents([CorpusInput(manifest)])
        changes = Changes("filter", _drops(documents, clauses))
        write_derived(artifact, documents, changes, config.shard_bytes, time.perf_counter() - started)
        kept = len(documents) - len(changes.drops)
        logger.info("kept %d of %d documents (%.1f%%)", kept, len(documents), 100 * kept / len(documents))
    return Path(out)


def _drops(documents: Documents, clauses: list[Clause]) -> dict[int, Drop]:
    """document -> the first clause that it fails."""
    drops: dict[int, Drop] = {}
    for start, table in documents.tables():
        for offset in range(0, table.num_rows, _PIECE):
            part = table.slice(offset, _PIECE)
            left = np.ones(part.num_rows, dtype=bool)
            for clause in clauses:
                passed = np.asarray(pa.chunked_array(clause.passes(part)).to_numpy(), dtype=bool)
                failed = np.flatnonzero(left & ~passed)
                values = clause.values(part.take(pa.array(failed)))
                for row, value in zip(failed.tolist(), values, strict=True):
                    drops[start + offset + row] = Drop(clause.text, value, clause.threshold)
                left &= passed
    return drops
