"""The per-document part of decontamination: which runs of words of evaluation sets a document holds.

How many documents hold a run is known only when all were read, so the verdict comes later, in
`data_pipeline.decontaminate.decide`. This step drops nothing.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from datatrove.data import Document

from data_pipeline.base import CorpusStep, Drop, DropLog, Measure
from data_pipeline.decontaminate.config import DecontaminateConfig
from data_pipeline.decontaminate.index import ContaminationIndex, build_index
from millbase.errors import InputError

_FILE = "contamination-index.npz"


class ContaminationFinder(CorpusStep):
    """Sets `contamination`: the rows of the index whose runs stand in the document, or null for none.

    Raises InputError when `prepare_index` was not called for the folder `scratch`.
    """

    name = "🧪 Contamination"
    step_name = "decontaminate"

    def __init__(self, config: DecontaminateConfig, scratch: Path, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config, self.scratch = config, scratch

    def judge(self, document: Document) -> Drop | None:
        """None."""
        rows = find_rows(load_index(self.scratch), self.config, document.text)
        document.metadata["contamination"] = rows.tolist() if len(rows) else None
        return None

    def measure(self, document: Document) -> list[Measure]:
        """How many runs of words of evaluation sets the document holds; whether they count, only all documents tell."""
        self.judge(document)
        return [Measure("evaluation_runs", len(document.metadata["contamination"] or []), None, passed=True)]


def find_rows(index: ContaminationIndex, config: DecontaminateConfig, text: str) -> np.ndarray:
    """int64: the distinct rows of the index whose runs stand in `text`, ascending."""
    if config.method == "paragraph":
        return np.unique(index.finder.find_lines(text, config.least_words)[1])
    return np.unique(index.finder.find(text)[1])


def prepare_index(config: DecontaminateConfig, scratch: Path) -> ContaminationIndex:
    """Build the index into `scratch` once for all workers; one that a killed run left there is taken.

    Raises InputError when an evaluation set cannot be read.
    """
    if not (scratch / _FILE).exists():
        build_index(config).save(scratch / _FILE)
    return load_index(scratch)


def load_index(scratch: Path) -> ContaminationIndex:
    """The index that `prepare_index` left in `scratch`, loaded once in each process."""
    file = scratch / _FILE
    if not file.exists():
        raise InputError(f"{str(file)!r} is missing; start the build again from an empty work directory")
    return _load(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _load(file: Path, changed: int) -> ContaminationIndex:
    return ContaminationIndex.load(file)
