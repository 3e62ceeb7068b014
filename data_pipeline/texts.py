"""Texts out of whatever holds them: JSONL, plain text, Parquet, Arrow, or a corpus artifact.

Used where a component learns from texts alone (quality classifier, tokenizer); the corpus keeps its own reader.
"""

import heapq
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
import zstandard
from pydantic import Field

from millbase.artifacts import MANIFEST, Manifest, open_artifact
from millbase.config import Config
from millbase.errors import InputError
from millbase.files import glob_files, open_file
from millbase.log import get_logger

logger = get_logger(__name__)

_MAX_BAD_SHARE = 0.05
_PARAGRAPH = "\n\n"


class TextSource(Config):
    """Files that hold texts."""

    path: str | list[str]
    """Path or glob, or a list of them: .jsonl, .txt (one document a file), .parquet, .arrow, text also as .gz or .zst;
    or the directory of a corpus artifact."""
    field: str = "text"
    """Column or JSON key that holds the text. Its value may be a string or chat messages, whose contents are joined."""
    max_documents: int | None = Field(default=None, gt=0)
    """Use at most so many documents, chosen evenly by a hash of the text; all by default."""


def input_files(source: TextSource) -> list[str]:
    """The files of a source, sorted.

    Raises InputError when a pattern matches nothing, ArtifactError when a directory holds another kind of artifact.
    """
    files: list[str] = []
    for path in [source.path] if isinstance(source.path, str) else source.path:
        if Path(path, MANIFEST).is_file():
            manifest = open_artifact(path, kind="corpus")
            files += map(str, corpus_files(manifest))
        else:
            files += glob_files(path, what="texts")
    return files


def corpus_files(corpus: Manifest) -> list[Path]:
    """The Arrow shards of a corpus artifact, in order."""
    return [corpus.path / name for name in sorted(corpus.files) if name.startswith("data/") and name.endswith(".arrow")]


def corpus_batches(
    corpus: Manifest, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[Path, pa.RecordBatch]]:
    """Record batches of a corpus artifact with the named columns, each with its shard, memory-mapped; of the `optional`
    columns, those that it has.

    Raises InputError when a column is missing or the corpus has no documents.
    """
    documents = 0
    for file in corpus_files(corpus):
        with pa.memory_map(str(file)) as memory:
            for batch in _arrow_batches(memory, str(file)):
                missing = [column for column in columns if column not in batch.schema.names]
                if missing:
                    raise InputError(f"{str(file)!r} has no column {missing[0]!r}; build the corpus again")
                documents += batch.num_rows
                yield file, batch.select([*columns, *(name for name in optional if name in batch.schema.names)])
    if documents == 0:
        raise InputError(f"corpus {str(corpus.path)!r} holds no documents; see its funnel.json for what dropped them")


def read_texts(source: TextSource) -> Iterator[str]:
    """Every non-empty text of a source, in the order of the files.

    Records that are not JSON or lack the field are skipped and counted; InputError when they exceed 5% of a file.
    """
    for file in input_files(source):
        total = bad = 0
        reason = ""
        for record in read_records(file):
            total += 1
            try:
                text = text_of(record, source.field)
            except InputError as error:
                bad, reason = bad + 1, reason or str(error)
                continue
            if text.strip():
                yield text
        if bad > _MAX_BAD_SHARE * total:
            raise InputError(f"{file!r}: {bad} of {total} records hold no text ({reason}); check the file and 'field'")
        if bad:
            logger.warning("%s: skipped %d of %d records without text (first: %s)", file, bad, total, reason)


def read_records(file: str) -> Iterator[Any]:
    """Records of a file: mappings, or the text of a .txt file, or the ValueError that a line which is not JSON raised.

    Raises InputError where the file is truncated, not UTF-8, or not what its name says.
    """
    try:
        yield from _records(file)
    except (EOFError, OSError, zlib.error, zstandard.ZstdError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise InputError(f"{file!r} cannot be read ({error}); it is damaged or misnamed, fetch it again") from None


def text_of(record: object, field: str) -> str:
    """The text under `field` of a record; contents of chat messages are joined by blank lines.

    Raises InputError when the record is no mapping, or has no such field, or the field holds something else.
    """
    if isinstance(record, str):
        return record
    if isinstance(record, ValueError):
        raise InputError(f"not JSON: {record}")
    if not isinstance(record, dict):
        raise InputError(f"expected a JSON object, found {type(record).__name__}")
    value = record.get(field)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        contents = [item.get("content") if isinstance(item, dict) else item for item in value]
        return _PARAGRAPH.join(content for content in contents if isinstance(content, str))
    if field not in record:
        raise InputError(f"no key {field!r}, only {', '.join(map(repr, record))}")
    if value is None:
        return ""
    raise InputError(f"key {field!r} holds {type(value).__name__}, expected text or chat messages")


def _records(file: str) -> Iterator[Any]:
    """Records of one file: mappings, or plain strings, or the ValueError that a line raised."""
    name = file.removesuffix(".gz").removesuffix(".zst")
    if name.endswith((".jsonl", ".json", ".ndjson")):
        with open_file(file) as lines:
            for line in lines:
                if line.strip():
                    try:
                        yield json.loads(line)
                    except ValueError as error:
                        yield error
    elif name.endswith(".txt"):
        with open_file(file) as text:
            yield text.read()
    elif name.endswith(".parquet"):
        with open_file(file, "rb") as binary:
            for batch in pq.ParquetFile(binary).iter_batches():
                yield from batch.to_pylist()
    elif name.endswith(".arrow"):
        with open_file(file, "rb") as binary:
            for batch in _arrow_batches(binary, file):
                yield from batch.to_pylist()
    else:
        raise InputError(f"{file!r}: unknown kind of file, expected .jsonl, .txt, .parquet or .arrow (.gz, .zst)")


def _arrow_batches(binary: Any, file: str) -> Iterator[Any]:
    """Record batches of an Arrow IPC file or stream."""
    try:
        reader = pa.ipc.open_file(binary)
    except pa.ArrowInvalid:
        binary.seek(0)
        try:
            yield from pa.ipc.open_stream(binary)
        except pa.ArrowInvalid as error:
            raise InputError(f"{file!r} is not an Arrow IPC file or stream ({error}); check the path") from None
        return
    for index in range(reader.num_record_batches):
        yield reader.get_batch(index)


def text_key(text: str, seed: int) -> int:
    """A 64-bit number that orders texts at random: a hash of the text keyed by the seed."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"), seed=seed)


def sample_texts(source: TextSource, seed: int) -> list[str]:
    """Distinct texts of a source in the order of their keys, at most `max_documents` of them.

    The sample depends on the texts and the seed, not on the files' names, order or number.
    """
    texts = read_texts(source)
    if source.max_documents is None:
        keyed = {text_key(text, seed): text for text in texts}
        return [keyed[key] for key in sorted(keyed)]
    kept: dict[int, str] = {}
    heap: list[int] = []  # negated keys of `kept`: the largest is on top
    for text in texts:
        key = text_key(text, seed)
        if key in kept or (len(heap) == source.max_documents and key > -heap[0]):
            continue
        kept[key] = text
        if len(heap) < source.max_documents:
            heapq.heappush(heap, -key)
        else:
            del kept[-heapq.heappushpop(heap, -key)]
    return [kept[key] for key in sorted(kept)]
