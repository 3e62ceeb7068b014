"""Groups of near-duplicates by three programs, and how well they fit pairs of known similarity."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BANDS, ROWS, SHINGLE = 14, 8, 5
_WORD = re.compile(r"\w+")
_CHARACTER_LANGUAGES = ("ja", "zh")  # their pairs were made from characters, which datatrove's tokeniser does not cut


@dataclass(frozen=True)
class Pairs:
    """Documents and all pairs of them whose exact similarity is at least 0.3."""

    texts: list[str]
    left: np.ndarray
    right: np.ndarray
    similarity: np.ndarray

    def precision_recall(self, labels: np.ndarray, threshold: float) -> tuple[float, float]:
        """Of the pairs with one label, the share at or above the threshold; and of those, the share with one label."""
        sizes = np.unique(labels, return_counts=True)[1]
        merged = int((sizes * (sizes - 1) // 2).sum())
        found = int((labels[self.left] == labels[self.right])[self.similarity >= threshold].sum())
        return found / merged if merged else 1.0, found / int((self.similarity >= threshold).sum())


def read_pairs(folder: Path, part: int = 1) -> Pairs:
    """The documents of `folder`, or one part in `part` of them, all versions of a page together."""
    documents = [json.loads(line) for line in gzip.open(folder / "docs.jsonl.gz", "rt", encoding="utf-8")]
    documents = [document for document in documents if document["lang"] not in _CHARACTER_LANGUAGES]
    if part > 1:
        pages = [document["id"].partition("/")[2] for document in documents]
        documents = [d for d, page in zip(documents, pages, strict=True) if zlib.crc32(page.encode()) % part == 0]
    row = {document["id"]: number for number, document in enumerate(documents)}
    pairs = [json.loads(line) for line in gzip.open(folder / "pairs_all_ge_0.3.jsonl.gz", "rt", encoding="utf-8")]
    pairs = [pair for pair in pairs if pair["a"] in row and pair["b"] in row]
    return Pairs(
        [document["text"] for document in documents],
        np.array([row[pair["a"]] for pair in pairs]),
        np.array([row[pair["b"]] for pair in pairs]),
        np.array([pair["jaccard"] for pair in pairs]),
    )


def our_groups(pairs: Pairs, seed: int, min_similarity: float) -> np.ndarray:
    """int64 [N] labels by `data_pipeline.minhash`."""
    from data_pipeline.minhash import MinHashConfig, MinHasher, cluster

    config = MinHashConfig(seed=seed, bands=BANDS, rows=ROWS, shingle_words=SHINGLE, min_similarity=min_similarity)
    return cluster(MinHasher(config).signatures(pairs.texts), config)


def datasketch_signature(text: str, seed: int) -> MinHash:
    """datasketch's MinHash of the text's shingles."""
    words = _WORD.findall(text.lower())
    shingles = {" ".join(words[n : n + SHINGLE]).encode() for n in range(max(1, len(words) - SHINGLE + 1))}
    sketch = MinHash(num_perm=BANDS * ROWS, seed=seed)
    sketch.update_batch(list(shingles))
    return sketch


def datasketch_groups(pairs: Pairs, seed: int) -> np.ndarray:
    """int64 [N] labels by datasketch's LSH index."""
    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    edges = []
    for number, text in enumerate(pairs.texts):
        sketch = datasketch_signature(text, seed)
        edges += [(number, other) for other in index.query(sketch)]
        index.insert(number, sketch)
    return _components(edges, len(pairs.texts))


def datatrove_groups(pairs: Pairs, seed: int, shingles: dict[str, Any]) -> np.ndarray:
    """int64 [N] labels by datatrove's stages, with FineWeb's settings; `shingles` keeps what does not depend on the
    seed."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    class Signature(MinhashDedupSignature):
        def get_shingles(self, text: str) -> Any:
            if text not in shingles:
                shingles[text] = super().get_shingles(text)
            return shingles[text]

    config = MinhashConfig(SHINGLE, BANDS, ROWS, seed=seed, hash_config=HashConfig(precision=64, hash_fc="sha1"))
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(pairs.texts)]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        Signature(f"{folder}/signatures", config).run(iter(documents))
        for bucket in range(BANDS):
            step = MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config)
            _drain(step.run(None, bucket, BANDS))
        step = MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=config, save_cluster_id=True)
        _drain(step.run(None, 0, 1))
        step = MinhashDedupFilter(f"{folder}/remove", load_cluster_ids=True)
        kept = {document.id for document in step.run(iter(documents))}
    labels = np.arange(len(documents))
    groups: dict[Any, int] = {}
    for number, document in enumerate(documents):
        name = document.metadata.get("minhash_cluster_id", -1)
        if name != -1:
            labels[number] = groups.setdefault(name, number)
    assert len(kept) == len(set(labels.tolist())), "datatrove keeps one document of each of its clusters"
    return labels


def _drain(result: Iterator[Any] | None) -> None:
    for _ in result or ():
        pass


def _components(edges: list[tuple[int, int]], count: int) -> np.ndarray:
    left, right = np.array(edges or np.empty((0, 2)), dtype=np.int64).T
    return np.asarray(connected_components(coo_array((np.ones(len(left)), (left, right)), shape=(count, count)))[1])
