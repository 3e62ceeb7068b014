"""Digests: of files (xxh3-128, to catch damage, not attackers) and of JSON values (SHA-256)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import xxhash

_BLOCK = 1 << 20


def file_digest(path: str | Path) -> str:
    """``xxh3:<32 hex digits>`` of the file's bytes."""
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return f"xxh3:{digest.hexdigest()}"


def value_digest(value: object) -> str:
    """``sha256:<hex>`` of a JSON value, independent of the order of mapping keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
