"""What lies at the place of a document: its record's headers and first bytes, in a file of any format."""

from __future__ import annotations

import io
import json
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from fastwarc.warc import ArchiveIterator

from data_pipeline.fetch import open_input
from data_pipeline.read.arc import arc_record_end, parse_header
from data_pipeline.read.archive import warc_record_end
from data_pipeline.read.config import ReadConfig
from data_pipeline.read.decompress import STREAM_ERRORS, decompressed
from data_pipeline.read.formats import detect_format
from data_pipeline.read.members import GZIP_MAGIC, compressed_as_one
from millbase.errors import InputError

_HEADER_BYTES = 1 << 16
_URL = "WARC-Target-URI"


def read_place(path: str, offset: int, count: int, config: ReadConfig | None = None) -> tuple[dict[str, str], bytes]:
    """Headers and the first `count` bytes of the record at `offset` (as `warc_offset` has it).

    The headers are those of a WARC record, for ARC the same names with its values, none for lines of text; the content
    of a row is JSON. Raises InputError when the file cannot be had or holds nothing there.
    """
    config = config or ReadConfig()
    kind = detect_format(path, config)
    with open_input(path, config.fetch) as file:
        try:
            if kind in ("parquet", "arrow"):
                return {}, _row(file, kind, offset)[:count]
            if kind not in ("warc", "arc"):
                line = _skip_to(decompressed(file), offset).read(count).partition(b"\n")[0]
                if not line:
                    raise OSError("the file ends before it")
                return {}, line
            return _archived(file, kind, offset, count)
        except STREAM_ERRORS as error:
            raise InputError(
                f"{path!r} holds no record at {offset} ({' '.join(str(error).split())[:200]}); the file changed since "
                "the corpus was built"
            ) from None


def _archived(file: IO[bytes], kind: str, offset: int, count: int) -> tuple[dict[str, str], bytes]:
    head = file.read(4)
    file.seek(0)
    record_end = warc_record_end if kind == "warc" else arc_record_end
    as_one = head.startswith(GZIP_MAGIC[:2]) and compressed_as_one(file, record_end)
    if as_one:
        stream = _skip_to(decompressed(file), offset)
    else:
        file.seek(offset)
        stream = file
    if kind == "arc":
        data = (decompressed(_Rest(stream)) if not as_one else stream).read(_HEADER_BYTES + count)
        header = parse_header(data)
        if header is None:
            raise OSError("no ARC record line")
        names = {_URL: header.url.decode("utf-8", "replace"), "Content-Length": str(header.length)}
        return names, data[header.end : header.end + min(count, header.length)]
    source = io.BytesIO(stream.read(_HEADER_BYTES + count)) if as_one else stream
    record = next(iter(ArchiveIterator(source, parse_http=False)), None)
    if record is None:
        raise OSError("no WARC record")
    return dict(record.headers.items()), record.reader.read(count)


class _Rest(io.BytesIO):
    """The beginning of what is left of a stream, as a file of its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream.read(2 * _HEADER_BYTES))


def _skip_to(stream: IO[bytes], offset: int) -> IO[bytes]:
    left = offset
    while left > 0 and (data := stream.read(min(left, 1 << 20))):
        left -= len(data)
    return stream


def _row(file: IO[bytes], kind: str, row: int) -> bytes:
    source = pa.PythonFile(file, mode="r")
    if kind == "parquet":
        parquet = pq.ParquetFile(source)
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if row < rows:
                return _json(parquet.read_row_group(group), row)
            row -= rows
        raise OSError("no such row")
    try:
        table = pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        file.seek(0)
        table = pa.ipc.open_stream(source).read_all()
    return _json(table, row)


def _json(table: Any, row: int) -> bytes:
    found = table.slice(row, 1).to_pylist()
    if not found:
        raise OSError("no such row")
    return json.dumps(found[0], ensure_ascii=False, default=str).encode("utf-8", "replace")
