"""What duplicate removal knows of every document, in files mapped into memory: about 500 bytes a document on disk.

Rows 0 to N are the documents of the build in input order; the rows after them are those of the indexes of earlier
builds, which are never dropped and always preferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import xxhash

from data_pipeline.base.sorting import Sorter, Space, numbers, pack, release, scatter
from data_pipeline.dedup.config import DedupConfig

STEPS = ("", "url_dedup", "exact_dedup", "minhash_dedup", "paragraph_dedup", "substring_dedup")
"""Steps by their number in `Documents.step`; 0 is a document that stays."""
REASONS = ("", "same_url", "copy", "near_copy", "too_little_left", "too_little_left")
"""The reasons that stand with them in the dropped table."""
URL, EXACT, NEAR, PARAGRAPHS, SUBSTRINGS = range(1, 6)

_ID_BYTES = 40
"""Ids are compared by these; longer ones by their first 24 bytes and a hash."""
_NO_DATE = 2**63 - 1


@dataclass
class Documents:
    """The arrays, each of a row a document."""

    count: int
    """N: documents of the build."""
    indexed: int
    """Documents of earlier builds."""
    hashes: dict[int, np.ndarray]
    """URL, EXACT -> uint8 [N + indexed, 16]."""
    signatures: np.ndarray | None
    """uint32 [N + indexed, permutations]."""
    rank: np.ndarray
    """int64 [N + indexed] place in the order of preference; lower survives."""
    step: np.ndarray
    """uint8 [N + indexed]: the step that dropped the document."""
    keeper: np.ndarray
    """int64 [N + indexed]: the row of the document that was kept instead."""
    similarity: np.ndarray
    """float32 [N + indexed]: estimated Jaccard similarity with that one, of near-duplicates; characters left,
    of documents that repeated paragraphs or runs of words left too short."""

    @classmethod
    def make(cls, count: int, indexed: int, config: DedupConfig, space: Space) -> Documents:
        """Arrays for so many documents, with those that `config` needs."""
        total = count + indexed
        kinds = [kind for kind, wanted in ((URL, config.url), (EXACT, config.exact)) if wanted or config.index]
        return cls(
            count,
            indexed,
            {kind: space.array(f"{STEPS[kind]}.u8", np.uint8, (total, 16)) for kind in kinds},
            space.array("signatures.u32", np.uint32, (total, config.minhash.permutations)) if config.near else None,
            space.array("rank.i64", np.int64, (total,)),
            space.array("step.u8", np.uint8, (total,)),
            space.array("keeper.i64", np.int64, (total,)),
            space.array("similarity.f32", np.float32, (total,)),
        )

    def release(self) -> None:
        """Give the memory of all arrays back; their contents stay in the files."""
        for array in (*self.hashes.values(), self.rank, self.step, self.keeper, self.similarity):
            release(array)
        if self.signatures is not None:
            release(self.signatures)


def preference(
    ids: Sequence[str], characters: np.ndarray, quality: np.ndarray, dates: Sequence[str | None], config: DedupConfig
) -> np.ndarray:
    """uint8 [N, width]: what sorts documents by preference, the best first; but for ties, which the row decides."""
    longest, best = -1 - characters.astype(np.int64), ~_ordered(quality).view(np.uint64)
    longest = longest.view(np.uint64)
    keys: list[np.ndarray] = {
        "longest": [longest, best],
        "best_quality": [best, longest],
        "oldest": [best, longest],
        "newest": [best, longest],
        "first": [],
    }[config.keep]
    if config.keep in ("oldest", "newest"):
        sign = 1 if config.keep == "oldest" else -1
        times = [capture_time(date) for date in dates]
        keys.insert(0, np.array([_NO_DATE if time is None else sign * time + 2**62 for time in times], dtype=np.uint64))
    if config.keep == "first":
        return np.zeros((len(ids), 8), dtype=np.uint8)
    names = np.array([_id_key(name) for name in ids], dtype=f"S{_ID_BYTES}")
    return pack(*keys, np.ascontiguousarray(names).view(np.uint8).reshape(-1, _ID_BYTES))


def preference_width(config: DedupConfig) -> int:
    """Bytes of a row of `preference`."""
    return {"first": 8, "oldest": 24 + _ID_BYTES, "newest": 24 + _ID_BYTES}.get(config.keep, 16 + _ID_BYTES)


def capture_time(date: str | None) -> int | None:
    """Microseconds since 1970 of an ISO 8601 date; None where it is missing or no date."""
    try:
        moment = datetime.fromisoformat(date or "")
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000)


def assign_ranks(documents: Documents, preferences: Sorter) -> None:
    """Set `rank` from records (a row of `preference`, row) of all documents of the build; indexed ones come first."""
    documents.rank[documents.count :] = np.arange(documents.indexed)
    position = documents.indexed
    for records in preferences.chunks():
        rows = numbers(records, records.shape[1] - 8)
        scatter(documents.rank, rows, np.arange(position, position + len(records)))
        position += len(records)


def _ordered(values: np.ndarray) -> np.ndarray:
    """uint64 that compare as the float64 do."""
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)


def _id_key(name: str) -> bytes:
    key = name.encode("utf-8", "surrogatepass")
    return key if len(key) <= _ID_BYTES else key[:24] + xxhash.xxh3_128_digest(key)
