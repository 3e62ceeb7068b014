"""The first step of the pipeline: documents out of WARC files, one file a task."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import xxhash
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from data_pipeline.base import Drop, DropLog
from data_pipeline.base.progress import count_pages, reached
from data_pipeline.read.archive import Damage, Record, WarcFile
from data_pipeline.read.config import ReadConfig
from data_pipeline.read.http import HttpError, HttpResponse, parse_http
from millbase.errors import InputError

_HTML_TYPES = ("text/html", "application/xhtml+xml")
_UNTOLD_TYPES = ("", "text/plain", "application/octet-stream", "unknown/unknown")
_PROGRESS_PAGES = 20


@dataclass(frozen=True)
class WarcSource:
    """One WARC file and what its documents inherit."""

    path: str
    """Where to read it."""
    name: str
    """`warc_file` of its documents: the path below the common folder of all inputs."""
    source: str
    dump: str


class WarcReader(PipelineStep):
    """Reads file `rank` of `files`. Documents carry the raw page in `metadata["html"]` (bytes) until extraction."""

    name = "🕷 WARC"
    type = "📖 - READER"

    def __init__(self, files: list[WarcSource], config: ReadConfig, log: DropLog) -> None:
        super().__init__()
        self.files, self.config, self.log = files, config, log
        self.read = 0
        """Records read: documents passed on and dropped."""
        self.seconds = 0.0

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Documents of HTML pages in file order. Raises InputError on a file that cannot be used."""
        source = self.files[rank]
        archive = WarcFile(source.path, self.config.max_record_bytes)
        items = archive.records()
        pending = 0
        while self.read != self.config.max_pages_per_file:
            started = time.process_time()
            item = next(items, None)
            if item is None:
                break
            document, drop = self._document(item, source)
            self.seconds += time.process_time() - started
            self.read += 1
            pending += 1
            if pending == _PROGRESS_PAGES:
                reached(item.offset + item.length)
                count_pages(pending)
                pending = 0
            self.stat_update("documents")
            if drop is None:
                yield document
            else:
                self.log.add("read", document, drop)
        count_pages(pending)
        self._check(source, archive)

    def _check(self, source: WarcSource, archive: WarcFile) -> None:
        if self.read == 0:
            found = f"{archive.other_records} records of other types" if archive.other_records else "no record"
            raise InputError(
                f"WARC file {source.path!r} holds no response record ({found}; WET and WAT files hold none); "
                "remove it from the inputs or give the WARC file of the crawl"
            )
        damaged = sum(row["reason"] in ("truncated", "damaged") for row in self.log.rows)
        if damaged == self.read:
            offset = self.log.rows[0]["warc_offset"]
            raise InputError(
                f"WARC file {source.path!r} is unreadable: each of its {damaged} records is truncated or damaged, the "
                f"first at offset {offset}; fetch the file again or remove it from the inputs"
            )

    def _document(self, item: Record | Damage, source: WarcSource) -> tuple[Document, Drop | None]:
        where: dict[str, Any] = {
            "url": item.url or "",
            "source": source.source,
            "dump": source.dump,
            "warc_file": source.name,
            "warc_offset": item.offset,
            "warc_length": item.length,
            "position": self.read,
            "date": None,
        }
        if isinstance(item, Damage):
            if self.config.on_truncated == "error":
                what = "ends early" if item.reason == "truncated" else "cannot be read"
                raise InputError(
                    f"WARC file {source.path!r} {what} at offset {item.offset}: {item.message}; fetch the file again, "
                    "or set read.on_truncated=record to drop such records and go on"
                )
            drop = Drop(item.reason, detail=item.message)
            return Document(text="", id=document_id(None, source.name, item.offset, self.read), metadata=where), drop
        where["date"] = item.date
        document = Document(
            text="", id=document_id(item.record_id, source.name, item.offset, self.read), metadata=where
        )
        return document, self._judge(item, document)

    def _judge(self, record: Record, document: Document) -> Drop | None:
        limit = self.config.max_record_bytes
        if record.kind == "revisit":
            return Drop("revisit")
        if not (record.url or "").lower().startswith(("http://", "https://")):
            return Drop("not_http", detail=(record.url or "")[:100])
        if len(record.block) > limit:
            return Drop("too_large", value=float(len(record.block)), threshold=float(limit))
        try:
            response = parse_http(record.block, limit)
        except HttpError as error:
            return Drop(error.reason, detail=str(error))
        document.metadata["html"] = response.body
        document.metadata["charset"] = response.charset
        return judge_response(response)


def judge_response(response: HttpResponse) -> Drop | None:
    """None for a successful response that holds an HTML page."""
    if 300 <= response.status < 400:
        return Drop("redirect", value=float(response.status), detail=response.headers.get("location", "")[:200])
    if not 200 <= response.status < 300:
        return Drop("http_status", value=float(response.status), threshold=299.0)
    start = response.body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start and len(response.body) <= 1024:
        return Drop("empty_body", value=float(len(response.body)))
    if start.startswith(b"%PDF") or response.media_type == "application/pdf":
        return Drop("pdf", detail=response.media_type)
    if response.media_type in _HTML_TYPES:
        return None
    if response.media_type in _UNTOLD_TYPES and start[:14].lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return None
    return Drop("not_html", detail=response.media_type[:60])


def document_id(record_id: str | None, warc_file: str, offset: int, position: int) -> str:
    """The record's UUID where it has one, else a hash of where the record lies: stable over runs."""
    if record_id and record_id.startswith("<urn:uuid:"):
        return record_id[10:].rstrip(">").strip().lower()
    return xxhash.xxh3_128_hexdigest(f"{warc_file}\0{offset}\0{position}\0{record_id or ''}".encode())


def iterate(source: WarcSource, config: ReadConfig) -> Iterator[Document]:
    """Documents of one WARC file outside a pipeline, for looking around; what is dropped is passed over."""
    yield from WarcReader([source], config, DropLog()).run()
