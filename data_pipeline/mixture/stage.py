"""A mixture of finished corpora: sampled, and marked with how often training reads each document.

llmill corpus mix corpora.web=runs/web corpora.code=runs/code mixture.weights='{web: 0.8, code: 0.2}' --out runs/mix
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from data_pipeline.mixture.config import MixtureConfig
from data_pipeline.mixture.sample import Mixed, mix
from data_pipeline.write.columns import float_column, string_column
from data_pipeline.write.derived import Changes, CorpusInput, Documents, write_derived
from millbase.artifacts import create_artifact, open_artifact
from millbase.config import Config
from millbase.log import get_logger

logger = get_logger(__name__)


class MixConfig(Config):
    """Mixes finished corpora, or the sources of one, in given shares."""

    corpora: dict[str, str] = {}
    """Corpus artifacts by name; the name becomes the `source` of their documents."""
    corpus: str | None = None
    """One corpus artifact, in place of `corpora`; its documents keep their sources."""
    mixture: MixtureConfig = MixtureConfig()
    """The shares."""
    shard_bytes: int = Field(default=256 << 20, gt=0)
    """Text bytes in one output shard."""
    seed: int = Field(default=0, ge=0)
    """Chooses the documents of sources that are sampled."""

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if bool(self.corpora) == (self.corpus is not None):
            raise ValueError("give either corpora (a corpus for each source) or corpus (one that has sources)")
        return self


def mix_corpora(config: MixConfig, out: str | Path) -> Path:
    """Write the `corpus` artifact `out`; the column `copies` says how often training reads each document.

    Raises ArtifactError for a bad corpus, ConfigError for unknown sources and columns, InputError for sources that have
    nothing to give.
    """
    started = time.perf_counter()
    paths = {f"corpus.{name}": path for name, path in config.corpora.items()} or {"corpus": str(config.corpus)}
    with create_artifact(out, kind="corpus", config=config, inputs=dict(paths), seed=config.seed) as artifact:
        names: list[str | None] = [*config.corpora] or [None]
        manifests = [open_artifact(path, kind="corpus", verify=False) for path in paths.values()]
        documents = Documents([CorpusInput(manifest, name) for manifest, name in zip(manifests, names, strict=True)])
        if documents.renamed:
            logger.warning(
                "%d documents have ids that others had before them, and stand in the mixture twice unless the corpora"
                " are deduplicated together; their ids end in #2, #3, ... from now on",
                documents.renamed,
            )
        mixed, changes = _mix(documents, config)
        write_derived(artifact, documents, changes, config.shard_bytes, time.perf_counter() - started)
        artifact.stats["sources"] = {name: asdict(share) for name, share in mixed.shares.items()}
        for name, share in mixed.shares.items():
            logger.info("%s: %.1f%% of what training reads, %.2f epochs", name, 100 * share.share, share.epochs)
    return Path(out)


def _mix(documents: Documents, config: MixConfig) -> tuple[Mixed, Changes]:
    mixture = config.mixture
    pieces = []
    for _, table in documents.tables():
        # what was to be read three times already counts three times
        sizes = pc.multiply(pc.binary_length(table["text"]).cast(pa.int64()), pc.fill_null(table["copies"], 1))
        columns = {"id": table["id"], "mixed": string_column(table, mixture.column), "bytes": sizes}
        if mixture.quality.buckets:
            columns["score"] = float_column(table, mixture.quality.column)
        pieces.append(pa.table(columns))
    light = pa.concat_tables(pieces)
    scores = light["score"].to_numpy() if mixture.quality.buckets else None
    domains = light["mixed"].to_pylist()
    names = [*config.corpora] if mixture.column == "source" else []
    mixed = mix(light["id"].to_pylist(), domains, light["bytes"].to_numpy(), scores, mixture, config.seed, names)
    gone = np.flatnonzero(mixed.copies == 0).tolist()
    drops = {row: mixed.drop(row, domains[row], scores) for row in gone}
    return mixed, Changes("mixture", drops, copies=mixed.copies if mixture.enabled else None)
