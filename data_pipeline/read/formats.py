"""Which reader a file needs, by its first bytes and its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from data_pipeline.fetch import open_input
from data_pipeline.fetch.open import is_remote
from data_pipeline.read.arc import ArcFile
from data_pipeline.read.archive import WarcFile, first_bytes
from data_pipeline.read.config import ColumnsConfig, Format, ReadConfig
from data_pipeline.read.items import RecordFile
from data_pipeline.read.tables import TableFile
from data_pipeline.read.texts import JsonLinesFile, PlainTextFile

_COMPRESSIONS = (".gz", ".zst", ".lz4", ".bz2", ".xz")
_MAGIC: dict[bytes, Format] = {b"WARC/": "warc", b"filedesc:": "arc", b"PAR1": "parquet", b"ARROW1": "arrow"}
_ENDINGS: dict[str, Format] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".txt", ".text", ".md"), "text"),
    **{".parquet": "parquet", ".arrow": "arrow", ".arc": "arc", ".warc": "warc", ".wet": "warc"},
}


@dataclass(frozen=True)
class InputFile:
    """One input file and what its documents inherit."""

    path: str
    """Where to read it."""
    name: str
    """`warc_file` of its documents: the path below the common folder of all inputs."""
    source: str
    dump: str
    format: Format = "auto"
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    text_documents: Literal["file", "line"] = "file"
    about_bytes: int | None = None
    """Its size, where it was asked for already or is a good guess."""

    def __deepcopy__(self, memo: dict[int, object]) -> InputFile:
        """Itself: it never changes, and pipelines that hold 90,000 of them are copied for each task."""
        return self


def open_records(file: InputFile, config: ReadConfig) -> RecordFile:
    """The reader of `file`. Raises InputError when it cannot be opened."""
    kind, limit = file.format, config.max_record_bytes
    if kind == "auto":
        kind = detect_format(file.path, config)
    if kind == "arc":
        return ArcFile(file.path, limit, config.fetch)
    if kind == "jsonl":
        return JsonLinesFile(file.path, limit, file.columns, config.fetch)
    if kind == "text":
        return PlainTextFile(file.path, limit, file.text_documents, config.fetch)
    if kind in ("parquet", "arrow"):
        return TableFile(file.path, limit, file.columns, kind, config.fetch)
    return WarcFile(file.path, limit, config.fetch)


def detect_format(path: str, config: ReadConfig) -> Format:
    """By the first bytes, inside gzip too, then by the name; of remote files, whose first bytes cost a request, by the
    name first. In the end `warc`, whose reader says what is wrong with a file that is none."""
    named = _named_format(path)
    if named is not None and is_remote(path):
        return named
    with open_input(path, config.fetch) as file:
        head = first_bytes(file)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), named or "warc")


def _named_format(path: str) -> Format | None:
    name = (path.partition("?")[0] if is_remote(path) else path).lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    return next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)
