"""The crawl behind a corpus: reads a page's record again and runs the corpus's own steps on it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from datatrove.data import Document
from pydantic import ValidationError

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.corpus.config import CorpusConfig, SourceConfig
from data_pipeline.corpus.stages import document_steps, prepare_steps
from data_pipeline.fetch import open_input
from data_pipeline.read import InputFile, InputReader
from data_pipeline.read.formats import detect_format
from millbase.artifacts import open_artifact
from millbase.config import explain_validation
from millbase.errors import ArtifactError, InputError, UserError

_RECORD_STARTS = (b"\x1f\x8b", b"WARC/", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")  # gzip, plain, zstd, lz4

_NO_CRAWL = CorpusConfig(sources=[SourceConfig(inputs="none")])


class Crawl:
    """Opens a corpus for looking at pages one by one; use it in a `with` block.

    `crawl` is a folder to look for the WARC files in, where they moved since the corpus was built.
    """

    def __init__(self, corpus: str | Path, crawl: str | None = None) -> None:
        self.manifest = open_artifact(corpus, kind="corpus", verify=False)
        self.path = self.manifest.path
        made_by = self.manifest.raw.get("config_class", "").rpartition(".")[2]
        self.derived = made_by != CorpusConfig.__name__
        """Whether the corpus was made of other corpora, so that no crawl stands behind it directly."""
        try:
            self.config = _NO_CRAWL if self.derived else CorpusConfig.model_validate(self.manifest.config)
        except ValidationError as error:
            raise ArtifactError(
                f"{str(corpus)!r} was built by another version of llmill, whose configuration this one does not read "
                f"({explain_validation(CorpusConfig, error)}); build it again"
            ) from None
        self._crawl = crawl
        self._scratch = tempfile.TemporaryDirectory(prefix="llmill-")
        self._steps: list[CorpusStep] | None = None

    def __enter__(self) -> Crawl:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.cleanup()

    @property
    def steps(self) -> list[CorpusStep]:
        """The corpus's per-document steps. Raises InputError or ArtifactError when a list or model is gone."""
        if self._steps is None:
            folder = Path(self._scratch.name)
            prepare_steps(self.config, folder)
            self._steps = document_steps(self.config, folder, DropLog())
        return self._steps

    def locate(self, warc_file: str) -> str:
        """Where the WARC file of this name lies now. Raises InputError when it is gone."""
        if self.derived:
            inputs = ", ".join(sorted({item["path"] for item in self.manifest.inputs.values()}))
            raise InputError(f"{str(self.path)!r} was made of other corpora: ask for the page in {inputs}")
        recorded = f"{self.manifest.stats.get('warc_root', '')}{warc_file}"
        places = [recorded]
        if self._crawl is not None:
            folder = self._crawl.rstrip("/")
            places = [f"{folder}/{warc_file}", f"{folder}/{warc_file.rpartition('/')[2]}", recorded]
        for place in places:
            if "://" in place or os.path.isfile(place):
                return place
        raise InputError(f"WARC file {recorded!r} is no longer there; say with --crawl in which folder it lies now")

    def read(self, row: dict[str, Any]) -> tuple[Document, Drop | None]:
        """The document of a row of the corpus's tables as it comes out of its WARC record, and why the read step drops
        it, if it does. Raises InputError when the record cannot be read again."""
        path = self.locate(row["warc_file"])
        found = self._read_slice(path, row) or self._read_through(path, row)
        if found is None:
            raise InputError(
                f"{path!r} holds no record of {row['url']!r} at byte {row['warc_offset']}; the file changed since the "
                "corpus was built"
            )
        document, drop = found
        document.id = row["id"]
        for name in ("warc_file", "warc_offset", "warc_length", "source"):
            document.metadata[name] = row[name]
        return document, drop

    def text(self, row: dict[str, Any]) -> str | None:
        """The text of a row's page as the steps leave it, up to the one that drops it; None when the record cannot be
        read or was dropped before it was extracted."""
        try:
            document, drop = self.read(row)
            if drop is None:
                for step in self.steps:
                    if step._judge_safely(document) is not None:
                        break
        except UserError:
            return None
        return document.text or None

    def _read_slice(self, path: str, row: dict[str, Any]) -> tuple[Document, Drop | None] | None:
        """From the record's bytes alone; None where they are no file of their own (a file compressed as one piece, or
        of another format)."""
        file = self._input(path, row)
        kind = file.format if file.format != "auto" else detect_format(path, self.config.read)
        if kind not in ("warc", "arc"):
            return None
        try:
            with open_input(path, self.config.read.fetch) as source:
                source.seek(row["warc_offset"])
                data = source.read(row["warc_length"])
        except (OSError, ValueError):
            return None
        if kind == "warc" and not data.startswith(_RECORD_STARTS):
            return None
        piece = Path(self._scratch.name) / f"record-{path.rpartition('/')[2]}"
        piece.write_bytes(data)
        return self._run_reader(replace(file, path=str(piece), format=kind), row, limit=1)

    def _read_through(self, path: str, row: dict[str, Any]) -> tuple[Document, Drop | None] | None:
        """By reading the file from its beginning, as the build did."""
        return self._run_reader(self._input(path, row), row, limit=self.config.read.max_pages_per_file, exact=True)

    def _input(self, path: str, row: dict[str, Any]) -> InputFile:
        source = next((source for source in self.config.sources if source.name == row["source"]), None)
        if source is None:
            return InputFile(path, row["warc_file"], row["source"], "")
        settings = {"columns": source.columns, "text_documents": source.text_documents, "format": source.format}
        return InputFile(path, row["warc_file"], source.name, source.dump, **settings)  # type: ignore[arg-type]

    def _run_reader(
        self, file: InputFile, row: dict[str, Any], limit: int | None, exact: bool = False
    ) -> tuple[Document, Drop | None] | None:
        """The document of `row` among those of `file`; `exact`: offsets are those of the crawl's file."""
        settings = self.config.read.model_copy(update={"max_pages_per_file": limit, "on_truncated": "record"})
        reader = InputReader([file], settings, DropLog())
        with contextlib.suppress(InputError):  # a file that holds nothing but this damaged record
            for document in reader.run():
                if _matches(document.metadata, row, exact):
                    return document, None
        for dropped in reader.log.rows:
            if _matches(dropped, row, exact):
                metadata = {name: dropped.get(name) for name in ("url", "position")}
                drop = Drop(dropped["reason"], dropped["value"], dropped["threshold"], dropped["detail"])
                return Document(text="", id=dropped["id"], metadata=metadata), drop
        return None


def _matches(found: dict[str, Any], row: dict[str, Any], exact: bool) -> bool:
    return found["url"] == row["url"] and (not exact or found["warc_offset"] == row["warc_offset"])
