"""The per-document part of duplicate removal: fingerprints that the global part compares."""

from __future__ import annotations

import xxhash
from datatrove.data import Document

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.minhash import MinHasher


class Fingerprint(CorpusStep):
    """Sets `exact_hash` (16 bytes) and, for near-duplicates, `signature` (uint32 array); drops nothing."""

    name = "🫆 Fingerprint"
    step_name = "minhash_dedup"

    def __init__(self, config: DedupConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self._hasher: MinHasher | None = None

    def judge(self, document: Document) -> Drop | None:
        """None."""
        document.metadata["exact_hash"] = exact_hash(document.text)
        if self.config.near:
            if self._hasher is None:
                self._hasher = MinHasher(self.config.minhash)
            document.metadata["signature"] = self._hasher.signatures([document.text])[0]
        return None


def exact_hash(text: str) -> bytes:
    """16-byte hash of the text with runs of white space as one blank."""
    return xxhash.xxh3_128_digest(" ".join(text.split()).encode("utf-8", "surrogatepass"))
