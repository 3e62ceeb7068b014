"""From a document's id to its rows in token shards and corpus, and to its record in the crawl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llmill.lineage.walk import Node
from millbase.artifacts import Manifest
from millbase.errors import ArtifactError, InputError

_SHOWN_BYTES = 400


@dataclass
class WarcRecord:
    """Where a page lies in the crawl."""

    file: str
    """As the corpus recorded it."""
    offset: int
    """Bytes from the start of the (compressed) file."""
    length: int
    """Bytes of the record, compressed."""
    url: str
    found: Path | str | None = None
    """Where the file is now, a path or a remote address; None when it is gone."""


@dataclass
class DocumentTrace:
    """One document's way back."""

    id: str
    items: list[str] = field(default_factory=list)
    """``path: score`` of each scored item."""
    rows: list[str] = field(default_factory=list)
    """Its rows in token shards and corpus, each as ``file, row, what``."""
    record: WarcRecord | None = None


def trace_document(tree: Node, document: str) -> DocumentTrace:
    """Follow one document through every artifact of the tree. InputError when none holds it."""
    trace = DocumentTrace(document)
    for scores in tree.artifacts("scores")[:1]:
        trace.items = [_describe_item(scores, name, item) for name, item in _items(scores) if item["id"] == document]
    for tokens in tree.artifacts("tokens"):
        trace.rows += _token_rows(tokens, document)
    for corpus in tree.artifacts("corpus"):
        found = _find_row(corpus, ("data",), document)
        if found is None:
            continue
        file, index, row = found
        trace.rows.append(f"{file}, row {index}: {len(row['text'])} characters from {row['source']!r}")
        recorded = f"{corpus.stats.get('warc_root', '')}{row['warc_file']}"
        trace.record = WarcRecord(recorded, row["warc_offset"], row["warc_length"], row["url"])
        trace.record.found = _locate(trace.record.file, corpus, tree)
        break
    if not (trace.rows or trace.items):
        raise InputError(
            f"no document or scored item {document!r} behind {str(tree.path)!r}; --sample 3 shows some that are"
        )
    return trace


def sample_documents(tree: Node, count: int) -> list[str]:
    """``count`` document ids, evenly spread: scored held-out documents if there are any, else rows of the corpus.

    Raises ArtifactError when nothing behind the artifact holds documents.
    """
    ids: list[str] = []
    for scores in tree.artifacts("scores")[:1]:
        ids = [str(item["id"]) for name, item in _items(scores) if "bits_per_byte" in name]
    for manifest in () if ids else [*tree.artifacts("tokens"), *tree.artifacts("corpus")][:1]:
        folders = ("heldout", "train") if manifest.kind == "tokens" else ("data",)
        ids = [str(name) for file in _shards(manifest, folders) for name in _column(file, "id").to_pylist()]
    if not ids:
        raise ArtifactError(f"nothing behind {str(tree.path)!r} holds documents (no corpus, no token shards)")
    step = max(1, len(ids) // max(1, count))
    return ids[::step][:count]


def read_record(record: WarcRecord) -> tuple[dict[str, str], bytes]:
    """WARC headers and the first bytes of the record's content (HTTP headers and page; the line or row of a file of
    texts), read at its offset.

    Raises ArtifactError when the file is gone or holds another page there, InputError when it cannot be read.
    """
    from data_pipeline.read.place import read_place

    if record.found is None:
        raise ArtifactError(f"WARC file {record.file!r} is no longer there; its page cannot be shown")
    headers, content = read_place(str(record.found), record.offset, _SHOWN_BYTES)
    if headers and headers.get("WARC-Target-URI", "").strip("<>") != record.url:
        raise ArtifactError(
            f"{str(record.found)!r} holds {headers.get('WARC-Target-URI')!r} at byte {record.offset}, expected "
            f"{record.url!r}; the file changed since the corpus was built"
        )
    return headers, content


def _items(scores: Manifest) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in sorted(scores.files):
        if name.startswith("items/") and name.endswith(".jsonl"):
            for line in (scores.path / name).read_text(encoding="utf-8").splitlines():
                item = json.loads(line)
                yield name, {**item, "id": str(item.get("id"))}


def _describe_item(scores: Manifest, name: str, item: dict[str, Any]) -> str:
    values = ", ".join(f"{metric} {value}" for metric, value in item.get("scores", {}).items())
    return f"{scores.path / name}: {values}"


def _token_rows(tokens: Manifest, document: str) -> list[str]:
    found = _find_row(tokens, ("train", "heldout"), document)
    if found is None:
        return []
    file, index, row = found
    return [f"{file}, row {index}: {len(row['tokens'])} tokens, {row['bytes']} bytes"]


def _shards(manifest: Manifest, folders: tuple[str, ...]) -> list[Path]:
    names = [name for name in sorted(manifest.files) if name.endswith(".arrow") and name.partition("/")[0] in folders]
    return [manifest.path / name for name in names]


def _table(file: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _column(file: Path, name: str) -> Any:
    return _table(file).column(name)


def _find_row(manifest: Manifest, folders: tuple[str, ...], document: str) -> tuple[Path, int, dict[str, Any]] | None:
    for file in _shards(manifest, folders):
        table = _table(file)
        index = pc.index(table.column("id"), document).as_py()
        if index >= 0:
            return file, index, table.slice(index, 1).to_pylist()[0]
    return None


def _locate(recorded: str, corpus: Manifest, tree: Node) -> Path | str | None:
    """The input file as recorded, else the one of the same name among the files the corpus read."""
    if "://" in recorded:
        return recorded
    if Path(recorded).is_file():
        return Path(recorded)
    read: list[Path] = []
    for node in tree.nodes():
        if node.manifest is not None and node.manifest.digest == corpus.digest:
            for child in node.children:
                # a crawl may be recorded file by file, or as the artifact that holds it
                inside = child.manifest.files if child.manifest is not None else {}
                read += [*child.files, *(child.path / name for name in inside)]
    # the longest common tail decides: crawl/web/0.warc.gz and crawl/encyclopedia/0.warc.gz share a name
    same_name = [file for file in read if file.name == Path(recorded).name and file.is_file()]
    return max(same_name, key=lambda file: _common_tail(file, Path(recorded)), default=None)


def _common_tail(one: Path, other: Path) -> int:
    count = 0
    for left, right in zip(reversed(one.parts), reversed(other.parts), strict=False):
        if left != right:
            break
        count += 1
    return count
