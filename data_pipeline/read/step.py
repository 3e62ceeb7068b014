"""The first step of the pipeline: documents out of input files, one file a task."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import xxhash
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from data_pipeline.base import Drop, DropLog
from data_pipeline.base.progress import count_pages, reached
from data_pipeline.read.archive import WarcFile
from data_pipeline.read.charset import decode_html
from data_pipeline.read.config import ReadConfig
from data_pipeline.read.formats import InputFile, open_records
from data_pipeline.read.http import HttpError, HttpResponse, parse_http
from data_pipeline.read.items import Damage, Item, Record, RecordFile, TextRecord, is_one_file
from millbase.errors import InputError

_HTML_TYPES = ("text/html", "application/xhtml+xml")
_UNTOLD_TYPES = ("", "text/plain", "application/octet-stream", "unknown/unknown")
_PROGRESS_PAGES = 20


class InputReader(PipelineStep):
    """Reads file `rank` of `files`.

    Documents out of crawls carry the raw page in `metadata["html"]` (bytes) until extraction. Those out of WET,
    Parquet, JSONL and text files have their text, and `metadata["extracted"]` is true: extraction lets them pass.
    """

    name = "🕷 Input"
    type = "📖 - READER"

    def __init__(self, files: list[InputFile], config: ReadConfig, log: DropLog) -> None:
        super().__init__()
        self.files, self.config, self.log = files, config, log
        self.read = 0
        """Records read: documents passed on and dropped."""
        self.seconds = 0.0

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Documents in file order. Raises InputError on a file that cannot be used."""
        file = self.files[rank]
        records = open_records(file, self.config)
        items = records.records()
        pending = 0
        while self.read != self.config.max_pages_per_file:
            started = time.process_time()
            item = next(items, None)
            if item is None:
                break
            document, drop = self._document(item, file, records)
            self.seconds += time.process_time() - started
            self.read += 1
            pending += 1
            if pending == _PROGRESS_PAGES:
                if isinstance(item, Record):
                    reached(item.offset + item.length)
                count_pages(pending)
                pending = 0
            self.stat_update("documents")
            if drop is None:
                yield document
            else:
                self.log.add("read", document, drop)
        count_pages(pending)
        self._check(file, records)

    def _check(self, file: InputFile, records: RecordFile) -> None:
        if self.read == 0 and isinstance(records, WarcFile):
            found = f"{records.other_records} records of other types" if records.other_records else "no record"
            raise InputError(
                f"WARC file {file.path!r} holds no response record and no text ({found}; WAT files hold none); "
                "remove it from the inputs or give the WARC file of the crawl"
            )
        damaged = sum(row["reason"] in ("truncated", "damaged") for row in self.log.rows)
        if damaged and damaged == self.read:
            offset = self.log.rows[0]["warc_offset"]
            raise InputError(
                f"file {file.path!r} is unreadable: each of its {damaged} records is truncated or damaged, the "
                f"first at offset {offset}; fetch the file again or remove it from the inputs"
            )

    def _document(self, item: Item, file: InputFile, records: RecordFile) -> tuple[Document, Drop | None]:
        where: dict[str, Any] = {
            "url": item.url or "",
            "source": file.source,
            "dump": file.dump,
            "warc_file": file.name,
            "warc_offset": item.offset,
            "warc_length": item.length,
            "position": self.read,
            "date": None,
        }
        if isinstance(item, Damage):
            return self._damaged(item, file, where)
        where["date"] = item.date
        if isinstance(item, TextRecord):
            identity = item.record_id or document_id(None, file.name, item.offset, self.read)
            if not item.url:
                where["url"] = made_url(file.name, None if is_one_file(records) else self.read)
            where |= {"title": item.title, "extracted": True}
            return Document(text=item.text, id=identity, metadata=where), item.drop
        identity = document_id(item.record_id, file.name, item.offset, self.read)
        document = Document(text="", id=identity, metadata=where)
        return document, self._judge(item, document)

    def _damaged(self, item: Damage, file: InputFile, where: dict[str, Any]) -> tuple[Document, Drop | None]:
        if self.config.on_truncated == "error":
            what = "ends early" if item.reason == "truncated" else "cannot be read"
            raise InputError(
                f"file {file.path!r} {what} at offset {item.offset}: {item.message}; fetch the file again, "
                "or set read.on_truncated=record to drop such records and go on"
            )
        identity = document_id(None, file.name, item.offset, self.read)
        return Document(text="", id=identity, metadata=where), Drop(item.reason, detail=item.message)

    def _judge(self, record: Record, document: Document) -> Drop | None:
        limit = self.config.max_record_bytes
        if record.kind == "revisit":
            return Drop("revisit")
        if not (record.url or "").lower().startswith(("http://", "https://")):
            return Drop("not_http", detail=(record.url or "")[:100])
        if len(record.block) > limit:
            return Drop("too_large", value=float(len(record.block)), threshold=float(limit))
        if record.kind == "conversion":
            return judge_conversion(record, document)
        try:
            response = parse_http(record.block, limit)
        except HttpError as error:
            return Drop(error.reason, detail=str(error))
        document.metadata["html"] = response.body
        document.metadata["charset"] = response.charset
        return judge_response(response)


def judge_conversion(record: Record, document: Document) -> Drop | None:
    """Give `document` the text of a conversion record (WET); None when it is text."""
    media_type = (record.content_type or "text/plain").partition(";")[0].strip().lower()
    if media_type != "text/plain":
        return Drop("not_html", detail=media_type[:60])
    document.text = decode_html(record.block)[0]
    document.metadata["extracted"] = True
    return None if document.text.strip() else Drop("empty_body", value=float(len(record.block)))


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


def document_id(record_id: str | None, file: str, offset: int, position: int) -> str:
    """The record's UUID where it has one, else a hash of where the record lies: stable over runs."""
    if record_id and record_id.startswith("<urn:uuid:"):
        return record_id[10:].rstrip(">").strip().lower()
    return xxhash.xxh3_128_hexdigest(f"{file}\0{offset}\0{position}\0{record_id or ''}".encode("utf-8", "replace"))


def made_url(file: str, position: int | None) -> str:
    """An address for a document that has none: `file:///part/0.jsonl.gz#12`; without number for a whole file."""
    name = quote(file.removeprefix("/"), errors="replace")
    return f"file:///{name}" + ("" if position is None else f"#{position}")


def iterate(file: InputFile, config: ReadConfig) -> Iterator[Document]:
    """Documents of one input file outside a pipeline, for looking around; what is dropped is passed over."""
    yield from InputReader([file], config, DropLog()).run()
