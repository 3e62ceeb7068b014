"""First pass: tokenise the corpus into runs, each sorted by the documents' keys.

A run is one Arrow file of tokenised documents from one corpus shard. It appears whole or not at all, so that after a
crash only the run being written is done again. The key of a document is a hash of its id; sorting by it is the shuffle,
and the second pass merges the runs. Order and hold-out are functions of the ids and the seed alone.

A document that the mixture wants read several times (column `copies` of the corpus) stands in its run that often. The
key of each copy is another hash of the id, so copies lie as far apart as other documents, and the first one lies where
the document would lie without them. Held-out documents are never repeated.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from data_pipeline.texts import corpus_batches, corpus_files
from data_pipeline.tokens.config import TokensConfig
from data_pipeline.tokens.vocabulary import Vocabulary
from millbase.artifacts import Manifest
from millbase.atomic import atomic_write
from millbase.process import available_cores
from millbase.progress import progress
from millbase.seeds import derive_seed

_COLUMNS = ("id", "source", "text")
_COPIES = "copies"
_ENCODE_DOCUMENTS = 512
_ENCODE_BYTES = 4 << 20


def tokens_schema(dtype: np.dtype) -> pa.Schema:
    """Schema of the token shards."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("bytes", pa.int64()),
            ("tokens", pa.large_list(pa.from_numpy_dtype(dtype))),
        ]
    )


def run_schema(dtype: np.dtype) -> pa.Schema:
    """The schema of runs: that of the shards, after the sort key and the side of the document."""
    return pa.schema([("key", pa.uint64()), ("heldout", pa.bool_()), *tokens_schema(dtype)])


def take_rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """The rows of a table that ends with `tokens`, in fresh buffers. Arrow's own `take` moves lists token by token."""
    tokens = table["tokens"].combine_chunks()
    offsets, values = tokens.offsets.to_numpy(), tokens.values.to_numpy()
    starts, ends = offsets[:-1][rows], offsets[1:][rows]
    parts = [values[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    taken = np.concatenate(parts) if parts else values[:0]
    lists = pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(ends - starts)]), pa.array(taken))
    others = table.select(table.column_names[:-1]).take(pa.array(rows, pa.int64()))
    return others.append_column(table.schema.field("tokens"), lists)


def id_keys(ids: list[str], seed: int) -> np.ndarray:
    """uint64 [N] keyed hashes of document ids."""
    return np.fromiter((xxhash.xxh3_64_intdigest(item.encode(), seed=seed) for item in ids), np.uint64, count=len(ids))


def heldout_bound(corpus: Manifest, config: TokensConfig) -> int:
    """Documents whose hold-out key is lower are held out; [0, 2^64]."""
    if config.heldout_documents is None:
        return int(config.heldout_share * 2**64)
    seed = derive_seed(config.seed, "heldout")
    keys = [id_keys(batch["id"].to_pylist(), seed) for _, batch in corpus_batches(corpus, ["id"])]
    ordered = np.sort(np.concatenate(keys))
    count = min(config.heldout_documents, len(ordered))
    return int(ordered[count - 1]) + 1


def write_runs(corpus: Manifest, vocabulary: Vocabulary, config: TokensConfig, folder: Path) -> list[Path]:
    """Tokenise every document of the corpus into run files in `folder`; finished ones are not made again."""
    os.environ["RAYON_NUM_THREADS"] = str(config.workers or available_cores())  # read at the first encoding
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    bound = heldout_bound(corpus, config)
    shards = {file: index for index, file in enumerate(corpus_files(corpus))}
    total = sum(file.stat().st_size for file in shards)
    runs: list[Path] = []
    with progress("tokenising", total=total, unit="bytes") as bar:
        for file, part, batches in _parts(corpus, config.run_bytes):
            run = folder / f"run-{shards[file]:06d}-{part:04d}.arrow"
            if not run.exists():
                _write_run(run, batches, vocabulary, config.seed, bound)
            runs.append(run)
            bar.advance(sum(batch.nbytes for batch in batches))
    return runs


def _parts(corpus: Manifest, run_bytes: int) -> Iterator[tuple[Path, int, list[pa.RecordBatch]]]:
    """Record batches of a shard in groups of about `run_bytes`, each with its shard and its number there."""
    shard, part, size, group = None, 0, 0, list[pa.RecordBatch]()
    for file, batch in corpus_batches(corpus, _COLUMNS, optional=[_COPIES]):
        if group and (file != shard or size >= run_bytes):
            yield shard, part, group  # type: ignore[misc]
            part, size, group = (part + 1 if file == shard else 0), 0, []
        shard = file
        group.append(batch)
        size += batch.nbytes
    if shard is not None:
        yield shard, part, group


def _write_run(path: Path, batches: list[pa.RecordBatch], vocabulary: Vocabulary, seed: int, bound: int) -> None:
    ids = [item for batch in batches for item in batch["id"].to_pylist()]
    sources = [item for batch in batches for item in batch["source"].to_pylist()]
    sizes, lengths, values = _encode(batches, vocabulary)
    keys = id_keys(ids, derive_seed(seed, "order"))
    heldout_keys = id_keys(ids, derive_seed(seed, "heldout"))
    heldout = heldout_keys < np.uint64(bound) if bound < 2**64 else np.ones(len(ids), dtype=bool)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    columns: list[Any] = [
        pa.array(keys),
        pa.array(heldout),
        pa.array(ids, pa.string()),
        pa.array(sources, pa.string()),
        pa.array(sizes, pa.int64()),
        pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values)),
    ]
    run = pa.RecordBatch.from_arrays(columns, schema=run_schema(vocabulary.dtype))
    rows, keys = _repeat(ids, keys, np.where(heldout, 1, _copies(batches)), derive_seed(seed, "order"))
    order = np.argsort(keys, kind="stable")
    table = take_rows(pa.Table.from_batches([run]), rows[order])
    table = table.set_column(0, run.schema.field(0), pa.array(keys[order]))
    with atomic_write(path, "wb") as file, pa.ipc.new_file(file, run.schema) as writer:
        writer.write_batch(pa.record_batch([column.combine_chunks() for column in table.columns], schema=run.schema))


def _copies(batches: list[pa.RecordBatch]) -> np.ndarray:
    """int64 [N] how often each document is to be read; once where the corpus does not say."""
    parts = [
        batch[_COPIES].fill_null(1).to_numpy() if _COPIES in batch.schema.names else np.ones(batch.num_rows)
        for batch in batches
    ]
    return np.concatenate(parts).astype(np.int64)


def _repeat(ids: list[str], keys: np.ndarray, copies: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 [M] documents with their copies, and the uint64 [M] key of each; the first keeps the document's."""
    rows = np.repeat(np.arange(len(ids)), copies)
    ordinals = np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
    all_keys = keys[rows]
    later = np.flatnonzero(ordinals)
    names = [
        f"{ids[row]}\0{ordinal}" for row, ordinal in zip(rows[later].tolist(), ordinals[later].tolist(), strict=True)
    ]
    all_keys[later] = id_keys(names, seed)
    return rows, all_keys


def _encode(batches: list[pa.RecordBatch], vocabulary: Vocabulary) -> tuple[list[int], np.ndarray, np.ndarray]:
    """UTF-8 sizes and token counts of all documents, and their tokens end to end."""
    sizes: list[int] = []
    lengths: list[int] = []
    values: list[np.ndarray] = []
    texts: list[str] = []
    pending = 0

    def flush() -> None:
        tokens = vocabulary.encode(texts)
        lengths.extend(map(len, tokens))
        values.append(np.concatenate(tokens) if tokens else np.empty(0, dtype=vocabulary.dtype))
        texts.clear()

    for batch in batches:
        for text in batch["text"]:
            size = text.as_buffer().size
            sizes.append(size)
            texts.append(text.as_py())
            pending += size
            if len(texts) == _ENCODE_DOCUMENTS or pending >= _ENCODE_BYTES:
                flush()
                pending = 0
    flush()
    return sizes, np.array(lengths, dtype=np.int64), np.concatenate(values)
