"""Lists of domains and words, and fast lookup in them.

Domains are kept as sorted 64-bit hashes: 4.6 million of them take 37 MB, memory-mapped and shared by all workers, where
a Python set takes 659 MB in each.
"""

from __future__ import annotations

import io
import tarfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import IO
from urllib.parse import unquote

import idna
import numpy as np
import xxhash

from millbase.errors import InputError
from millbase.files import open_file

_UT1 = "url_filterblacklistsv0_3_0.tar.gz"
_BLOCK = 1 << 22


class DomainSet:
    """Set of domains; a domain in it stands for all its subdomains too."""

    def __init__(self, hashes: np.ndarray) -> None:
        # For single numbers `bisect` over a memory view is ten times as fast as numpy.
        self._hashes = np.ascontiguousarray(hashes).data

    @classmethod
    def load(cls, path: Path) -> DomainSet:
        """Memory-map what `write_domains` wrote."""
        return cls(np.load(path, mmap_mode="r"))

    def find(self, host: str) -> str | None:
        """The listed domain that `host` is or lies under, or None."""
        labels = host.split(".")
        names = (".".join(labels[start:]) for start in range(len(labels)))
        return next(filter(self.has, names), None)

    def has(self, name: str) -> bool:
        """Whether `name` itself is listed."""
        key = _key(name)
        place = bisect_left(self._hashes, key)
        return place < len(self._hashes) and self._hashes[place] == key


def host_name(host: str) -> str:
    """`host` in its IDNA form (UTS 46), in which the web knows it; as it is where it has none."""
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return host


def plain_address(url: str) -> str:
    """A lower-cased address without scheme, `www.`, fragment and final slash."""
    return url.partition("#")[0].rpartition("://")[2].removeprefix("www.").rstrip("/")


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
                yield host_name(words[-1].lower().strip(".").removeprefix("*.").removeprefix("www."))
    if count == 0:
        raise InputError(f"domain list {path!r} holds no domain: expected one a line; fix the file or drop it")


def read_addresses(path: str) -> Iterator[str]:
    """Addresses of a list file. Raises InputError when the file holds none."""
    count = 0
    with open_file(path) as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                count += 1
                yield plain_address(unquote(line.strip(), errors="replace").lower())
    if count == 0:
        raise InputError(f"address list {path!r} holds no address: expected one a line; fix the file or drop it")


def read_words(paths: list[str]) -> frozenset[str]:
    """Lower-cased words of one or more list files, `#` comments left out."""
    words: set[str] = set()
    for path in paths:
        with open_file(path) as file:
            words.update(word for line in file if (word := line.partition("#")[0].strip().lower()))
    return frozenset(words)


def ut1_hashes() -> Iterator[np.ndarray]:
    """Hashes of the UT1 lists' domains (University of Toulouse, CC-BY-SA), out of the installed datatrove package."""
    with _ut1_member("domains") as member:
        while block := member.read(_BLOCK):
            yield hash_lines(block + member.readline())


def ut1_addresses() -> Iterator[np.ndarray]:
    """Hashes of the UT1 lists' single addresses."""
    with _ut1_member("urls") as member:
        lines = member.read().decode("utf-8", "replace").lower().splitlines()
    keys = [_key(plain_address(unquote(line.strip(), errors="replace"))) for line in lines if line.strip()]
    yield np.array(keys, dtype=np.uint64)


@contextmanager
def _ut1_member(name: str) -> Iterator[IO[bytes]]:
    asset = files("datatrove") / "assets" / _UT1
    if not asset.is_file():
        raise InputError(
            f"url.use_ut1: the installed datatrove has no {_UT1!r}; install datatrove 0.10 or set it to false"
        )
    # As a stream: otherwise the whole archive is unpacked to list its members, and once more to read one.
    with tarfile.open(fileobj=io.BytesIO(asset.read_bytes()), mode="r|gz") as archive:
        found = next((member for member in archive if member.name == name), None)
        content = archive.extractfile(found) if found is not None else None
        assert content is not None, f"the UT1 archive has a file named {name}"
        yield content


def fineweb_words() -> list[frozenset[str]]:
    """The banned words, banned subwords and soft-banned words that the installed datatrove package holds."""
    folder = files("datatrove") / "assets"
    lists = []
    for name in ("banned_words.txt", "banned_subwords.txt", "soft_banned_words.txt"):
        if not (folder / name).is_file():
            raise InputError(
                f"url.use_fineweb_words: the installed datatrove has no {name!r}; install datatrove 0.10 or set it to "
                "false"
            )
        lists.append(read_words([str(folder / name)]))
    return lists


def hash_lines(block: bytes) -> np.ndarray:
    """uint64 hashes of the domains in `block`, one a line, as `DomainSet.find` computes them."""
    # One pass over the whole block for each operation: a loop over millions of lines takes five times as long.
    lines = block.decode("utf-8", "replace").lower().encode().split()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, lines), dtype=np.uint64, count=len(lines))


def _key(domain: str) -> int:
    return xxhash.xxh3_64_intdigest(domain.encode())
