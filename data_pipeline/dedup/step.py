"""The per-document part of duplicate removal: fingerprints that the global part compares."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import xxhash
from datatrove.data import Document

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.dedup.paragraphs import paragraph_hashes
from data_pipeline.dedup.substrings import Windows
from data_pipeline.dedup.url import url_hash
from data_pipeline.minhash import MinHasher


class Fingerprint(CorpusStep):
    """Sets the metadata that `fingerprint_fields` names; drops nothing."""

    name = "🫆 Fingerprint"
    step_name = "minhash_dedup"

    def __init__(self, config: DedupConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self._hasher: MinHasher | None = None
        self._windows: Windows | None = None

    def judge(self, document: Document) -> Drop | None:
        """None."""
        config, text, metadata = self.config, document.text, document.metadata
        metadata["exact_hash"] = exact_hash(text)
        if wants_url(config):
            metadata["url_hash"] = url_hash(metadata["url"])
        if config.near:
            if self._hasher is None:
                self._hasher = MinHasher(config.minhash)
            metadata["signature"] = self._hasher.signatures([text])[0]
        if config.paragraphs.enabled:
            metadata["paragraphs"] = paragraph_hashes(text, config.paragraphs)
        if config.substrings.enabled:
            if self._windows is None:
                self._windows = Windows(config.substrings)
            metadata["landmarks"] = self._windows.landmarks(text)
        return None

    def __getstate__(self) -> dict[str, Any]:
        """Without the hashers, which are made in the process that uses them."""
        return self.__dict__ | {"_hasher": None, "_windows": None}


def fingerprint_fields(config: DedupConfig) -> list[pa.Field]:
    """The columns in which a task leaves fingerprints for the global part."""
    fields = [pa.field("exact_hash", pa.binary(16), nullable=False)]
    if wants_url(config):
        fields.append(pa.field("url_hash", pa.binary(16), nullable=False))
    if config.near:
        fields.append(pa.field("signature", pa.list_(pa.uint32(), config.minhash.permutations), nullable=False))
    if config.paragraphs.enabled:
        fields.append(pa.field("paragraphs", pa.list_(pa.uint64()), nullable=False))
    if config.substrings.enabled:
        fields.append(pa.field("landmarks", pa.list_(pa.uint64()), nullable=False))
    return fields


def wants_url(config: DedupConfig) -> bool:
    """Whether hashes of addresses are needed, here or in a later build."""
    return config.url or config.index is not None


def exact_hash(text: str) -> bytes:
    """16-byte hash of the text with runs of white space as one blank."""
    return xxhash.xxh3_128_digest(" ".join(text.split()).encode("utf-8", "surrogatepass"))
