"""Documents of a token artifact, as they lie in its Arrow files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from millbase.errors import InputError


@dataclass(frozen=True)
class TokenDocument:
    """One document."""

    id: str
    source: str
    size: int
    """Bytes of its text."""
    ids: np.ndarray
    """`[T]` int64 token ids, the end-of-document token left out."""


def count_documents(folder: Path) -> int:
    """Documents below a split's folder, empty ones included."""
    total = 0
    for file in sorted(folder.glob("*.arrow")):
        with pa.memory_map(str(file)) as source:
            reader = pa.ipc.open_file(source)
            total += sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
    return total


def read_documents(folder: Path, end: int | None, vocab_size: int) -> Iterator[TokenDocument]:
    """The documents of a split with any text, in the artifact's (already random) order.

    Args:
        folder: a split's folder.
        end: the end-of-document token.
        vocab_size: rows of the model's embedding.

    Raises InputError for a token that the model does not have.
    """
    for file in sorted(folder.glob("*.arrow")):
        with pa.memory_map(str(file)) as source:
            reader = pa.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                columns = [batch.column(name) for name in ("id", "source", "bytes", "tokens")]
                for identity, origin, size, tokens in zip(*columns, strict=True):
                    ids = tokens.values.to_numpy(zero_copy_only=False).astype(np.int64)
                    ids = ids[:-1] if len(ids) and ids[-1] == end else ids
                    if len(ids) == 0 or size.as_py() == 0:
                        continue
                    if int(ids.max()) >= vocab_size:
                        raise InputError(
                            f"{str(file)!r}: token id {ids.max()} is not in the model's vocabulary of {vocab_size}"
                        )
                    yield TokenDocument(identity.as_py(), str(origin.as_py()), size.as_py(), ids)
