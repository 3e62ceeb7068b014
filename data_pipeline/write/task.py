"""The last step of a task: writes its kept and dropped documents and its counts, each file whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from data_pipeline.base import CorpusStep, DropLog
from data_pipeline.read import InputReader
from data_pipeline.write.schema import TASK_DROPPED_SCHEMA, kept_schema
from millbase.atomic import atomic_write
from millbase.errors import StageError

_BATCH = 512
_MIN_PAGES_TO_JUDGE = 50


class TaskWriter(PipelineStep):
    """Writes `<rank>.kept.arrow`, `<rank>.dropped.arrow` and `<rank>.json` into `folder`.

    Raises StageError when more than `max_error_share` of the task's documents failed inside a step: then the fault is
    not in the pages.
    """

    name = "💾 Task files"
    type = "💽 - WRITER"

    def __init__(
        self,
        folder: Path,
        reader: InputReader,
        steps: list[CorpusStep],
        log: DropLog,
        fingerprints: Sequence[pa.Field],
        max_error_share: float,
    ) -> None:
        super().__init__()
        self.folder, self.reader, self.steps, self.log = folder, reader, steps, log
        self.fingerprints, self.max_error_share = fingerprints, max_error_share

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Write every document of `data`, pass it on, and at the end write the dropped ones and the counts."""
        schema = kept_schema(self.fingerprints)
        kept = 0
        batch: list[Document] = []
        with atomic_write(self.folder / f"{rank:05d}.kept.arrow", "wb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                for document in data or ():
                    for name in ("words", "datatrove_words"):  # tokens of the heuristics: big, and done with
                        document.metadata.pop(name, None)
                    batch.append(document)
                    kept += 1
                    if len(batch) == _BATCH:
                        writer.write_batch(to_batch(batch, schema))
                        batch = []
                    yield document
                if batch:
                    writer.write_batch(to_batch(batch, schema))
            self._check_errors()
        self._write_dropped(rank)
        assert kept + len(self.log.rows) == self.reader.read, "every record read is kept or dropped"
        with atomic_write(self.folder / f"{rank:05d}.json", "w") as file:
            json.dump({"read": self.reader.read, "kept": kept, "seconds": self._seconds()}, file)

    def _write_dropped(self, rank: int) -> None:
        rows = sorted(self.log.rows, key=lambda row: row["position"])
        with atomic_write(self.folder / f"{rank:05d}.dropped.arrow", "wb") as file:
            with pa.ipc.new_file(file, TASK_DROPPED_SCHEMA) as writer:
                writer.write_batch(dropped_batch(rows))

    def _seconds(self) -> dict[str, float]:
        seconds = {"read": self.reader.seconds}
        for step in self.steps:
            seconds[step.step_name] = seconds.get(step.step_name, 0.0) + step.seconds
        return seconds

    def _check_errors(self) -> None:
        errors = [row for row in self.log.rows if row["reason"].startswith("error: ")]
        if self.reader.read >= _MIN_PAGES_TO_JUDGE:
            check_error_share(errors, self.reader.read, self.max_error_share)


def check_error_share(errors: list[dict[str, Any]], read: int, limit: float) -> None:
    """Raises StageError when more than `limit` of `read` documents failed inside a step."""
    if len(errors) > limit * read:
        first = errors[0]
        raise StageError(
            f"{len(errors)} of {read} pages failed inside a step (allowed share: max_error_share={limit}); the first "
            f"in step {first['step']!r} on {first['url']!r} in {first['warc_file']!r} at offset "
            f"{first['warc_offset']}: {first['reason'].removeprefix('error: ')}: {first['detail']}; "
            "mend the step's configuration or raise the share"
        )


def dropped_batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Rows of the dropped table with the places of their records."""
    columns = [to_column([row[field.name] for row in rows], field.type) for field in TASK_DROPPED_SCHEMA]
    return pa.record_batch(columns, schema=TASK_DROPPED_SCHEMA)


def to_batch(documents: list[Document], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of `documents`, which carry the columns in their metadata."""
    columns = []
    for field in schema:
        if field.name in ("id", "text"):
            values = [getattr(document, field.name) for document in documents]
        else:
            values = [document.metadata.get(field.name) for document in documents]
        columns.append(to_column(values, field.type))
    return pa.record_batch(columns, schema=schema)


def to_column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """`values` as an Arrow array; equally long numpy arrays become a fixed-size list, strings lose lone surrogates."""
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(values), kind.value_type), kind.list_size)
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # rare: looking for surrogates in every string first costs as much as the conversion
        return pa.array([printable(value) for value in values], kind)


def printable(value: Any) -> Any:
    """`value` with strings that UTF-8 can hold, those inside dictionaries and lists too."""
    if isinstance(value, str):
        return printable_text(value)
    if isinstance(value, dict):
        return {key: printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


def printable_text(text: str) -> str:
    """`text` without lone surrogates, which broken pages and headers hold and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
