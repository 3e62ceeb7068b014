"""Export of token shards to Megatron-LM's indexed dataset (.bin and .idx), for users of that format.

Our own pretrainer reads the Arrow shards and needs no second copy. Beside the two files goes a .json that names the
tokens they were made from, for the format has no place for it.

The index (megatron.core.datasets.indexed_dataset): magic, version, type code, number of sequences, number of document
boundaries; then int32 sequence lengths, int64 byte offsets, int64 document boundaries, each little-endian.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.tokens.lineage import split_files
from millbase.artifacts import Manifest, open_artifact
from millbase.atomic import atomic_write, write_json
from millbase.errors import InputError
from millbase.progress import progress

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
# Megatron has no uint32; ids under 2^31 are the same bytes as int32.
_TYPE_CODES = {np.dtype("uint16"): 8, np.dtype("uint32"): 4}


def export_megatron(tokens: str | Path, prefix: str | Path, split: str = "train") -> tuple[Path, Path]:
    """Write `prefix`.bin and `prefix`.idx (returned) from a split of a `tokens` artifact, one sequence a document, and
    `prefix`.json, which says where they come from.

    Raises ArtifactError when the tokens are damaged, InputError when there is no such split.
    """
    manifest = open_artifact(tokens, kind="tokens")
    binary, index = (Path(f"{prefix}{suffix}") for suffix in (".bin", ".idx"))
    lengths: list[np.ndarray] = []
    dtype: np.dtype | None = None
    files = split_files(tokens, split)
    with atomic_write(binary, "wb") as out, progress("exporting", total=len(files), unit="shards") as bar:
        for file in files:
            reader = pa.ipc.open_file(pa.memory_map(str(file)))
            for number in range(reader.num_record_batches):
                column = reader.get_batch(number)["tokens"]
                values = column.flatten().to_numpy()
                dtype = values.dtype
                lengths.append(column.value_lengths().to_numpy())
                out.write(values.tobytes())
            bar.advance()
    if dtype is None:
        raise InputError(f"split {split!r} of {str(tokens)!r} is empty; build the tokens again")
    _write_index(index, np.concatenate(lengths), dtype)
    write_json(Path(f"{prefix}.json"), _origin(manifest, split))
    return binary, index


def _origin(manifest: Manifest, split: str) -> dict[str, Any]:
    names = ("vocab_size", "dtype", "end_of_document", "end_of_document_id", "tokenizer_digest")
    facts = {name: manifest.stats[name] for name in names}
    return {
        "tokens": str(manifest.path),
        "digest": manifest.digest,
        "split": split,
        **manifest.stats["splits"][split],
        **facts,
    }


def _write_index(path: Path, lengths: np.ndarray, dtype: np.dtype) -> None:
    if len(lengths) and lengths.max() > np.iinfo(np.int32).max:
        raise InputError(f"a document of {lengths.max()} tokens is longer than the format allows (2^31 - 1); split it")
    offsets = np.concatenate([[0], np.cumsum(lengths[:-1])]) * dtype.itemsize
    with atomic_write(path, "wb") as file:
        file.write(_MAGIC)
        file.write(struct.pack("<QBQQ", _VERSION, _TYPE_CODES[dtype], len(lengths), len(lengths) + 1))
        file.write(lengths.astype("<i4").tobytes())
        file.write(offsets.astype("<i8").tobytes())
        file.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())
