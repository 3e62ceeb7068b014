"""Which domain each document of a token artifact comes from: its host, language or dump, as the corpus knows it.

Token shards carry an id and a source. The corpus that they were made from has the rest, so its id and one more column
are read once for the few documents that are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from evaluation.config import DomainsConfig
from millbase.artifacts import Manifest, open_artifact
from millbase.errors import ConfigError, InputError

OTHER = "other"
UNKNOWN = "unknown"
_COLUMN = {"host": "url", "language": "language", "dump": "dump"}


def domains_of(ids: Sequence[str], config: DomainsConfig, tokens: Manifest) -> list[str]:
    """The domain of each document; `unknown` where the corpus has no value, `other` for domains of few documents.

    Raises:
        ConfigError: no corpus is named, and the token artifact does not say which one it was made from.
        InputError: the corpus does not have the documents.
    """
    path = config.corpus or (tokens.inputs.get("corpus") or {}).get("path")
    if path is None:
        raise ConfigError(f"{str(tokens.path)!r} does not say which corpus it was made from; set domains.corpus")
    known = _look_up(open_artifact(path, kind="corpus", verify=False), set(ids), _COLUMN[config.by])
    missing = [id_ for id_ in ids if id_ not in known]
    if missing:
        raise InputError(
            f"corpus {str(path)!r} lacks {len(missing)} of {len(ids)} documents of {str(tokens.path)!r}, the first of "
            f"them {missing[0]!r}; set domains.corpus to the corpus that these tokens were made from"
        )
    named = [_name(known[id_], config.by) for id_ in ids]
    count = {name: named.count(name) for name in set(named)}
    large = sorted((name for name in count if count[name] >= config.minimum_documents), key=lambda n: (-count[n], n))
    shown = set(large[: config.most])
    return [name if name in shown else OTHER for name in named]


def _look_up(corpus: Manifest, ids: set[str], column: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    wanted = pa.array(sorted(ids), pa.string())
    for file in sorted((corpus.path / "data").glob("*.arrow")):
        found |= _look_up_in(file, wanted, column)
        if len(found) == len(ids):
            break
    return found


def _look_up_in(file: Path, wanted: pa.Array, column: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    with pa.memory_map(str(file)) as source:
        reader = pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            rows = pc.indices_nonzero(pc.is_in(batch["id"], value_set=wanted))
            values = batch[column].take(rows).to_pylist() if column in batch.schema.names else [None] * len(rows)
            found |= dict(zip(batch["id"].take(rows).to_pylist(), values, strict=True))
    return found


def _name(value: str | None, by: str) -> str:
    if by == "host" and value:
        value = (urlsplit(value).hostname or "").removeprefix("www.")
    return value or UNKNOWN
