"""From a row of the token shards back to the document and its WARC record."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millbase.artifacts import open_artifact
from millbase.errors import ArtifactError, InputError


def split_files(tokens: str | Path, split: str) -> list[Path]:
    """Shards of a split of a `tokens` artifact, in order. InputError when there is no such split."""
    manifest = open_artifact(tokens, kind="tokens", verify=False)
    files = [manifest.path / name for name in sorted(manifest.files) if name.startswith(f"{split}/")]
    if not files:
        raise InputError(f"{str(tokens)!r} has no split {split!r}; expected 'train' or 'heldout'")
    return files


def document_at(tokens: str | Path, split: str, row: int) -> dict[str, Any]:
    """The document at a row, counted over all shards of a split: id, source, bytes, tokens (their number), shard, row.

    Raises InputError when the row is out of range.
    """
    first = 0
    for file in split_files(tokens, split):
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        in_shard = 0
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            if 0 <= row - first < batch.num_rows:
                record: dict[str, Any] = batch.select(["id", "source", "bytes"]).slice(row - first, 1).to_pylist()[0]
                return record | {
                    "tokens": len(batch["tokens"][row - first].values),
                    "shard": f"{split}/{file.name}",
                    "row": in_shard + row - first,
                }
            first += batch.num_rows
            in_shard += batch.num_rows
    raise InputError(f"row {row} is not in split {split!r} of {str(tokens)!r}, which has {first} documents")


def corpus_document(
    tokens: str | Path, document_id: str, corpus: str | Path | None = None, text: bool = False
) -> dict[str, Any]:
    """The corpus row (URL, WARC file, offset, length, ...) of a document of a `tokens` artifact, `text` on request.

    `corpus` says where the corpus lies now if it was moved. Raises ArtifactError when it is not the corpus that the
    tokens were made from, InputError when it has no such document.
    """
    recorded = open_artifact(tokens, kind="tokens", verify=False).inputs["corpus"]
    manifest = open_artifact(corpus or recorded["path"], kind="corpus", verify=False)
    if manifest.digest != recorded["digest"]:
        raise ArtifactError(
            f"{str(manifest.path)!r} is not the corpus of {str(tokens)!r}: digest {manifest.digest}, expected"
            f" {recorded['digest']}; give the path of that corpus"
        )
    for name in sorted(name for name in manifest.files if name.startswith("data/")):
        reader = pa.ipc.open_file(pa.memory_map(str(manifest.path / name)))
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            row = pc.index(batch["id"], document_id).as_py()
            if row >= 0:
                columns = [column for column in batch.schema.names if text or column != "text"]
                found: dict[str, Any] = batch.select(columns).slice(row, 1).to_pylist()[0]
                return found | {"shard": name}
    raise InputError(f"no document {document_id!r} in corpus {str(manifest.path)!r}; check the id")
