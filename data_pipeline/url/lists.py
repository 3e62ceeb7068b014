"""Lists of domains and words, and fast lookup in them.

Domains are kept as sorted 64-bit hashes: 4.6 million of them take 37 MB, memory-mapped and shared by all workers, where
a Python set takes 659 MB in each.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import xxhash

from millbase.errors import InputError
from millbase.files import open_file

_UT1 = "url_filterblacklistsv0_3_0.tar.gz"
_BLOCK = 1 << 22


class DomainSet:
    """Set of domains; a domain in it stands for all its subdomains too."""

    def __init__(self, hashes: np.ndarray) -> None:
        self._hashes = hashes

    @classmethod
    def load(cls, path: Path) -> DomainSet:
        """Memory-map what `write_domains` wrote."""
        return cls(np.load(path, mmap_mode="r"))

    def find(self, host: str) -> str | None:
        """The listed domain that `host` is or lies under, or None."""
        labels = host.split(".")
        names = [".".join(labels[start:]) for start in range(len(labels))]
        keys = np.array([_key(name) for name in names], dtype=np.uint64)
        places = np.searchsorted(self._hashes, keys)
        for name, key, place in zip(names, keys, places, strict=True):
            if place < len(self._hashes) and self._hashes[place] == key:
                return name
        return None


def write_domains(path: Path, domains: Iterable[str], more: Iterable[np.ndarray] = ()) -> int:
    """Write sorted hashes of `domains` and those of `more` to `path` (.npy, uint64) and return how many there are."""
    hashes = np.concatenate([np.fromiter(map(_key, domains), dtype=np.uint64), *more])
    hashes.sort()  # np.unique goes by a hash table, fifteen times slower on millions
    first = np.ones(len(hashes), dtype=bool)
    first[1:] = hashes[1:] != hashes[:-1]
    with open(path, "wb") as file:
        np.save(file, hashes[first])
    return int(first.sum())


def read_domains(path: str) -> Iterator[str]:
    """Domains of a list file. Raises InputError when the file holds none."""
    count = 0
    with open_file(path) as file:
        for line in file:
            words = line.partition("#")[0].split()
            if words:
                count += 1
                yield words[-1].lower().strip(".").removeprefix("*.").removeprefix("www.")
    if count == 0:
        raise InputError(f"domain list {path!r} holds no domain: expected one a line; fix the file or drop it")


def read_words(paths: list[str]) -> frozenset[str]:
    """Lower-cased words of one or more list files, `#` comments left out."""
    words: set[str] = set()
    for path in paths:
        with open_file(path) as file:
            words.update(word for line in file if (word := line.partition("#")[0].strip().lower()))
    return frozenset(words)


def ut1_hashes() -> Iterator[np.ndarray]:
    """Hashes of the domains of the UT1 lists (University of Toulouse, CC-BY-SA) inside the datatrove package."""
    asset = files("datatrove") / "assets" / _UT1
    if not asset.is_file():
        raise InputError(
            f"url.use_ut1: the installed datatrove has no {_UT1!r}; install datatrove 0.10 or set it to false"
        )
    with tarfile.open(fileobj=io.BytesIO(asset.read_bytes()), mode="r:gz") as archive:
        member = archive.extractfile("domains")
        assert member is not None, "the UT1 archive has a file named domains"
        while block := member.read(_BLOCK):
            yield hash_lines(block + member.readline())


def hash_lines(block: bytes) -> np.ndarray:
    """uint64 hashes of the domains in `block`, one a line, as `DomainSet.find` computes them."""
    # One pass over the whole block for each operation: a loop over millions of lines takes five times as long.
    lines = block.decode("utf-8", "replace").lower().encode().split()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, lines), dtype=np.uint64, count=len(lines))


def _key(domain: str) -> int:
    return xxhash.xxh3_64_intdigest(domain.encode())
